//! Writes a content into the file that stood for it, so that a program that asked for the file's status before it opens
//! it (cp(1), tar(1)) opens the file that it asked about.
//!
//! A program that opens a file asks the relay first, and waits meanwhile: none reads a part of it.

use super::{PLACE, Shadow, Staged, errno_of, mode_of, set_mode, split, times};
use kinject_tunnel::files::FileStatus;
use rustix::fs::{
    FallocateFlags, FileType, Mode, OFlags, fallocate, fchmod, fstat, ftruncate, futimens, open, openat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// Bytes that are copied at once.
const PIECE_BYTES: usize = 1 << 20;

impl Shadow {
    /// Writes what is staged into the placeholder at a path, which has this status; false if there is none that can be
    /// written to. After a failure a placeholder is there again.
    pub(in crate::files) fn fill(
        &self,
        path: &[u8],
        status: &FileStatus,
        staged: &Staged,
    ) -> Result<bool, Errno> {
        let Some(placeholder) = self.open_placeholder(path)? else {
            return Ok(false);
        };
        let filled = copy(&staged.file, &placeholder);
        if filled.is_err() {
            ftruncate(&placeholder, 0)?;
            ftruncate(&placeholder, status.size)?;
        }
        fchmod(&placeholder, mode_of(status))?;
        futimens(&placeholder, &times(status.modified))?;
        filled.map(|()| true).map_err(|error| errno_of(&error))
    }

    fn open_placeholder(&self, path: &[u8]) -> Result<Option<File>, Errno> {
        let (folder, name) = split(path)?;
        let found = self
            .folder(folder, false)
            .and_then(|folder| openat(folder, &name, PLACE | OFlags::NOFOLLOW, Mode::empty()));
        let Ok(place) = found else { return Ok(None) };
        let status = fstat(&place)?;
        // another name of the file may be outside of the shadow root
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile || status.st_nlink != 1 {
            return Ok(None);
        }
        let opened = match open_for_writing(&place) {
            // its mode is the container's, which may be one for reading alone
            Err(Errno::ACCESS) => {
                set_mode(&place, status.st_mode & 0o7777 | 0o200)?;
                open_for_writing(&place)
            }
            opened => opened,
        };
        Ok(opened.ok().map(File::from))
    }
}

/// Opens the file that a descriptor stands for (proc_pid_fd(5)).
fn open_for_writing(place: &OwnedFd) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Copies a file over another one, and frees what was copied: the bytes are there once.
fn copy(from: &File, to: &File) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut copied = 0;
    loop {
        let count = from.read_at(&mut piece, copied)?;
        if count == 0 {
            return Ok(ftruncate(to, copied)?);
        }
        to.write_all_at(piece.get(..count).unwrap_or_default(), copied)?;
        let freed = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // a file system that cannot do so holds both for as long
        let _unsupported = fallocate(from, freed, copied, count as u64).is_err();
        copied += count as u64;
    }
}
