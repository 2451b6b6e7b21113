//! A file that was found, by a descriptor that only stands for it (`O_PATH`, open(2)), and its status.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use kinject_tunnel::files::{FileKind, FileStatus, Timestamp};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{AccessFlags, faccessat};

/// A file that was found.
pub(super) struct Found {
    pub(super) descriptor: OwnedFd,
    pub(super) raw: FileStat,
    pub(super) status: FileStatus,
}

impl Found {
    /// The file of a descriptor that was opened with `O_PATH` and, if it may be a link, `O_NOFOLLOW`.
    pub(super) fn of(descriptor: OwnedFd) -> Result<Self, Errno> {
        let raw = fstat(&descriptor)?;
        let target = match kind_of(&raw) {
            FileKind::Link => readlinkat(&descriptor, "")?.into_vec(),
            _ => Vec::new(),
        };
        let is_readable = is_readable(&raw, |wanted| {
            faccessat(AT_FDCWD, own_path(&descriptor).as_str(), wanted, AtFlags::empty())
        });
        Ok(Self {
            status: status(&raw, target, is_readable),
            descriptor,
            raw,
        })
    }

    pub(super) fn is_folder(&self) -> bool {
        self.status.kind == FileKind::Folder
    }

    pub(super) fn is_link(&self) -> bool {
        self.status.kind == FileKind::Link
    }

    /// Opens it for reading. The way by its descriptor leads to this very file, whatever its path means meanwhile.
    pub(super) fn open(&self, flags: OFlag) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        open(own_path(&self.descriptor).as_str(), flags, Mode::empty())
    }
}

/// The path of an own descriptor (proc_pid_fd(5)).
fn own_path(descriptor: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

pub(super) fn kind_of(raw: &FileStat) -> FileKind {
    match SFlag::from_bits_truncate(raw.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => FileKind::Folder,
        SFlag::S_IFLNK => FileKind::Link,
        SFlag::S_IFIFO => FileKind::Fifo,
        SFlag::S_IFSOCK => FileKind::Socket,
        SFlag::S_IFCHR => FileKind::CharacterDevice,
        SFlag::S_IFBLK => FileKind::BlockDevice,
        _ => FileKind::File,
    }
}

/// Whether a file can be read, or a folder be listed and entered; a link can.
pub(super) fn is_readable(raw: &FileStat, access: impl FnOnce(AccessFlags) -> Result<(), Errno>) -> bool {
    match kind_of(raw) {
        FileKind::Link => true,
        FileKind::Folder => access(AccessFlags::R_OK | AccessFlags::X_OK).is_ok(),
        _ => access(AccessFlags::R_OK).is_ok(),
    }
}

pub(super) fn status(raw: &FileStat, target: Vec<u8>, is_readable: bool) -> FileStatus {
    FileStatus {
        kind: kind_of(raw),
        mode: (raw.st_mode & 0o7777) as u16,
        size: u64::try_from(raw.st_size).unwrap_or_default(),
        modified: timestamp(raw.st_mtime, raw.st_mtime_nsec),
        changed: timestamp(raw.st_ctime, raw.st_ctime_nsec),
        inode: raw.st_ino,
        is_readable,
        target,
    }
}

fn timestamp(seconds: i64, nanoseconds: i64) -> Timestamp {
    Timestamp {
        seconds,
        nanoseconds: u32::try_from(nanoseconds).unwrap_or_default(),
    }
}
