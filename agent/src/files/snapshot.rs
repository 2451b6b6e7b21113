//! All that stands at and below a path, read in one go.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use bytes::Bytes;
use kinject_tunnel::files::{
    FileKind, MAX_DEPTH, MAX_ENTRIES, SNAPSHOT_BYTES, Snapshot, SnapshotContent, SnapshotEntry,
};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::unistd::faccessat;

use super::Withheld;
use super::folder::names;
use super::status::{Found, is_readable, kind_of, status};

const READ: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY);

/// Why there is no snapshot.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// Something changed while it was read: it would mix two states.
    Changed,
    /// It cannot be read.
    Errno(Errno),
}

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// Reads all that stands at a path, without what is mounted below it: the relay knows every mount by itself.
pub(super) fn take(path: &[u8], withheld: Withheld) -> Result<Snapshot, Failed> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let root = Found::of(open(OsStr::from_bytes(path), flags, Mode::empty())?)?;
    let mut taking = Taking {
        snapshot: Snapshot::default(),
        left: SNAPSHOT_BYTES,
        withheld,
    };
    match root.status.kind {
        FileKind::Folder => {
            taking.add(SnapshotEntry {
                path: Vec::new(),
                status: root.status.clone(),
                content: SnapshotContent::None,
            })?;
            taking.folder(root.open(OFlag::O_DIRECTORY)?, &[], root.raw.st_dev)?;
        }
        FileKind::File => {
            let (status, content) = taking.file(root.open(OFlag::empty()))?;
            taking.add(SnapshotEntry {
                path: Vec::new(),
                status: status.unwrap_or(root.status.clone()),
                content,
            })?;
        }
        _ => return Err(Errno::EACCES.into()),
    }
    // kubelets rename a link in this folder, which then has another time
    let now = fstat(&root.descriptor)?;
    match stamp(&now) == stamp(&root.raw) {
        true => Ok(taking.snapshot),
        false => Err(Failed::Changed),
    }
}

/// Changes whenever an entry of a folder, or the content of a file, does.
pub(super) fn stamp(raw: &FileStat) -> [i64; 5] {
    let inode = raw.st_ino.cast_signed();
    [
        inode,
        raw.st_mtime,
        raw.st_mtime_nsec,
        raw.st_ctime,
        raw.st_ctime_nsec,
    ]
}

/// A snapshot that is being taken.
struct Taking {
    snapshot: Snapshot,
    /// Bytes that it may still take.
    left: usize,
    withheld: Withheld,
}

impl Taking {
    fn add(&mut self, entry: SnapshotEntry) -> Result<(), Failed> {
        if self.snapshot.entries.len() == MAX_ENTRIES {
            return Err(Errno::EFBIG.into());
        }
        self.take_bytes(entry.path.len() + entry.status.target.len() + 64)?;
        self.snapshot.entries.push(entry);
        Ok(())
    }

    fn take_bytes(&mut self, count: usize) -> Result<(), Failed> {
        self.left = self.left.checked_sub(count).ok_or(Errno::EFBIG)?;
        Ok(())
    }

    fn folder(&mut self, descriptor: OwnedFd, path: &[u8], device: u64) -> Result<(), Failed> {
        if path.iter().filter(|byte| **byte == b'/').count() >= MAX_DEPTH - 1 {
            return Err(Errno::ENAMETOOLONG.into());
        }
        let mut folder = Dir::from_fd(descriptor)?;
        for name in names(&mut folder)? {
            let mut path = path.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.to_bytes());
            match self.entry(&folder, &name, path, device) {
                Err(Failed::Errno(Errno::ENOENT)) => return Err(Failed::Changed),
                done => done?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, folder: &Dir, name: &CStr, path: Vec<u8>, device: u64) -> Result<(), Failed> {
        let raw = fstatat(folder.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let kind = kind_of(&raw);
        let target = match kind {
            FileKind::Link => readlinkat(folder.as_fd(), name)?.into_vec(),
            _ => Vec::new(),
        };
        let can_read = is_readable(&raw, |wanted| {
            faccessat(folder.as_fd(), name, wanted, AtFlags::empty())
        });
        let mut entry = SnapshotEntry {
            path,
            status: status(&raw, target, can_read),
            content: SnapshotContent::None,
        };
        match kind {
            FileKind::File => {
                let opened = open_here(folder, name, raw.st_dev == device);
                let (status, content) = self.file(opened)?;
                entry.status = status.unwrap_or(entry.status);
                entry.content = content;
                self.add(entry)
            }
            FileKind::Folder => {
                let path = entry.path.clone();
                self.add(entry)?;
                match open_here(folder, name, raw.st_dev == device) {
                    Ok(descriptor) => self.folder(descriptor, &path, device),
                    // another mount, or a folder that the container's user cannot list
                    Err(Errno::EXDEV | Errno::EACCES) => Ok(()),
                    Err(errno) => Err(errno.into()),
                }
            }
            _ => self.add(entry),
        }
    }

    /// The content of an opened file, with the status that it had when it was opened.
    fn file(
        &mut self,
        opened: Result<OwnedFd, Errno>,
    ) -> Result<(Option<kinject_tunnel::files::FileStatus>, SnapshotContent), Failed> {
        let failed = |errno: Errno| Ok((None, SnapshotContent::Failed(errno as i32 as u16)));
        let descriptor = match opened {
            Ok(descriptor) => descriptor,
            Err(Errno::ENOENT) => return Err(Failed::Changed),
            Err(errno) => return failed(errno),
        };
        let raw = fstat(&descriptor)?;
        if kind_of(&raw) != FileKind::File || self.withheld.is(&raw) {
            return failed(Errno::EACCES);
        }
        let mut content = Vec::new();
        let read = File::from(descriptor)
            .take(self.left as u64 + 1)
            .read_to_end(&mut content);
        if let Err(error) = read {
            return failed(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw));
        }
        self.take_bytes(content.len())?;
        Ok((
            Some(status(&raw, Vec::new(), true)),
            SnapshotContent::Bytes(Bytes::from(content)),
        ))
    }
}

/// Opens an entry of a folder for reading; `EXDEV` if something else is mounted there. Before Linux 5.6, and where a
/// container's seccomp profile does not know openat2(2), only another file system is noticed as that.
fn open_here(folder: &Dir, name: &CStr, is_of_device: bool) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(READ)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match openat2(folder.as_fd(), name, how) {
        Err(Errno::ENOSYS | Errno::EPERM) if !is_of_device => Err(Errno::EXDEV),
        Err(Errno::ENOSYS | Errno::EPERM) => openat(folder.as_fd(), name, READ, Mode::empty()),
        opened => opened,
    }
}
