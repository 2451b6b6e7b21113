//! Where the shadow root lies: in memory, since secrets are among its files.

use crate::log;
use kinject_protocol::folder::{FILES, check_private, files_in_memory};
use rustix::fs::{Mode, OFlags};
use rustix::fs::{fstatfs, open, statfs, statvfs};
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

/// The types of file systems in memory (statfs(2)).
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;

/// The least free space of the system's memory file system: in containers it is often so small that a session's files
/// would not fit.
const MIN_FREE: u64 = 512 << 20;

/// The folder for the shadow root: the session's own if that lies in memory, otherwise one on the system's memory file
/// system (shm_overview(7)), to which a link in the session's folder leads. If there is none that has space, the
/// session's own.
pub(super) fn private_folder(folder: &Path) -> io::Result<PathBuf> {
    let descriptor = open(folder, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if is_in_memory(fstatfs(&descriptor)?.f_type as u64) || !has_space(Path::new("/dev/shm")) {
        return Ok(folder.to_owned());
    }
    let user = rustix::process::geteuid().as_raw();
    let files = files_in_memory(folder, user);
    match make(folder, &files, user) {
        Ok(()) => Ok(files),
        Err(error) => {
            log::info!(
                "the container's files lie on a disk: cannot make {}: {error}",
                kinject_escape::path(&files)
            );
            Ok(folder.to_owned())
        }
    }
}

fn is_in_memory(kind: u64) -> bool {
    // of some architectures it is a signed number of 32 bits
    matches!(kind & 0xffff_ffff, TMPFS | RAMFS)
}

fn has_space(folder: &Path) -> bool {
    let is_memory = statfs(folder).is_ok_and(|found| is_in_memory(found.f_type as u64));
    let free = statvfs(folder).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize));
    is_memory && free >= MIN_FREE
}

fn make(folder: &Path, files: &Path, user: u32) -> io::Result<()> {
    let around = files.parent().unwrap_or(files);
    let mut private = DirBuilder::new();
    private.mode(0o700);
    match private.create(around) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => check_private(around, user)?,
        made => made?,
    }
    // a folder that exists may be another session's, which a link to it would give away to this one's removal
    private.create(files)?;
    let linked = symlink(files, folder.join(FILES));
    if linked.is_err() {
        fs::remove_dir(files)?;
    }
    linked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_of_another_session_is_neither_used_nor_linked() {
        let session = tempfile::tempdir().unwrap();
        let memory = tempfile::tempdir().unwrap();
        let user = rustix::process::geteuid().as_raw();
        let files = memory.path().join("user").join("0123abcd.files");
        make(session.path(), &files, user).unwrap();
        assert_eq!(fs::read_link(session.path().join(FILES)).unwrap(), files);
        let other = tempfile::tempdir().unwrap();
        let error = make(other.path(), &files, user).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(!other.path().join(FILES).exists());
        assert!(files.exists());
    }
}
