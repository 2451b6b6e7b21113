//! The shadow root: a folder in which paths of the container stand at their own paths.
//!
//! What is written here comes from an agent, which may be hostile. So each path is walked component by component, and no
//! symbolic link is followed on the way: nothing outside of the shadow root can be reached. A file is written in a
//! folder beside it and renamed to its place, so that no program sees a part of it.

mod fill;

use kinject_tunnel::files::{FileKind, FileStatus, Timestamp};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RawMode, Timespec, Timestamps, chmodat, fchmod, fstat,
    fstatvfs, ftruncate, futimens, mkdirat, mknodat, open, openat, renameat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The name of the shadow root in the folder that holds it, and of the folder where files are written.
pub(super) const ROOT_NAME: &str = "root";
const STAGING_NAME: &str = "staging";

const PLACE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
const FOLDER: OFlags = PLACE.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW);

/// What its owner has to be allowed in a folder to change it.
const WRITE_AND_ENTER: RawMode = 0o300;

/// Space that contents leave free, for mirrored files and for what else lies on the same file system.
pub(super) const LEFT_FREE: u64 = 4 << 20;

/// The mode of folders that stand on the way to a path.
const PLAIN_MODE: RawMode = 0o755;

/// The shadow root.
pub(super) struct Shadow {
    root: OwnedFd,
    staging: Arc<OwnedFd>,
    next: AtomicU64,
}

/// A file that is written and stands at no path yet. It is gone when it is dropped, unless it was moved to its place.
pub(super) struct Staged {
    name: String,
    folder: Arc<OwnedFd>,
    /// It is empty at first.
    pub(super) file: File,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // it is in its place, or the session's folder is removed by now
        let _gone = unlinkat(&self.folder, self.name.as_str(), AtFlags::empty()).is_err();
    }
}

/// A folder that is being changed: if its owner may not write to it, it gets that permission for as long.
struct Changing {
    folder: OwnedFd,
    restored: Option<Mode>,
}

impl Changing {
    fn begin(folder: OwnedFd) -> Result<Self, Errno> {
        let mode = fstat(&folder)?.st_mode & 0o7777;
        let restored = match mode & WRITE_AND_ENTER == WRITE_AND_ENTER {
            true => None,
            false => {
                set_mode(&folder, mode | 0o700)?;
                Some(Mode::from_raw_mode(mode))
            }
        };
        Ok(Self { folder, restored })
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        if let Some(mode) = self.restored {
            // the folder may be removed by now
            let _gone = set_mode(&self.folder, mode.as_raw_mode()).is_err();
        }
    }
}

/// Changes the mode of a file that a descriptor stands for, which fchmod(2) does not for `O_PATH`.
fn set_mode(place: &OwnedFd, mode: RawMode) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    chmodat(CWD, path.as_str(), Mode::from_raw_mode(mode), AtFlags::empty())
}

impl Shadow {
    /// Makes an empty one in a private folder.
    pub(super) fn create(folder: &Path) -> Result<Self, Errno> {
        let folder = open(folder, FOLDER, Mode::empty())?;
        let made = |name: &str| {
            mkdirat(&folder, name, Mode::from_raw_mode(0o700))?;
            openat(&folder, name, FOLDER, Mode::empty())
        };
        Ok(Self {
            root: made(ROOT_NAME)?,
            staging: Arc::new(made(STAGING_NAME)?),
            next: AtomicU64::new(0),
        })
    }

    /// A new file to write to.
    pub(super) fn stage(&self) -> Result<Staged, Errno> {
        let name = self.new_name();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = openat(&self.staging, name.as_str(), flags, Mode::from_raw_mode(0o600))?;
        Ok(Staged {
            name,
            folder: Arc::clone(&self.staging),
            file: file.into(),
        })
    }

    /// Whether the file system has so much free space when files with `removed` bytes are removed. Of one without a limit,
    /// or that does not say, the kernel tells when something is written.
    pub(super) fn has_space(&self, bytes: u64, removed: u64) -> bool {
        match fstatvfs(&self.staging) {
            Ok(found) if found.f_blocks > 0 => {
                let free = found.f_bavail.saturating_mul(found.f_frsize);
                bytes <= free.saturating_add(removed)
            }
            Ok(_) | Err(_) => true,
        }
    }

    /// Puts a staged file at a path, with this status.
    pub(super) fn put_staged(&self, path: &[u8], status: &FileStatus, staged: Staged) -> Result<(), Errno> {
        fchmod(&staged.file, mode_of(status))?;
        futimens(&staged.file, &times(status.modified))?;
        self.rename(&staged.name, path)
    }

    /// Puts a file with this content at a path.
    pub(super) fn put_content(&self, path: &[u8], status: &FileStatus, content: &[u8]) -> Result<(), Errno> {
        if !is_within_limit(content.len() as u64) {
            return Err(Errno::FBIG);
        }
        let mut staged = self.stage()?;
        let written = staged.file.write_all(content);
        written.map_err(|error| errno_of(&error))?;
        self.put_staged(path, status, staged)
    }

    /// Puts a file at a path that has this status and no content: it is as long, and takes no space.
    pub(super) fn put_placeholder(&self, path: &[u8], status: &FileStatus) -> Result<(), Errno> {
        let kind = match status.kind {
            FileKind::File => {
                let staged = self.stage()?;
                // a file system that has no such large files has an empty one
                let _too_large =
                    !is_within_limit(status.size) || ftruncate(&staged.file, status.size).is_err();
                return self.put_staged(path, status, staged);
            }
            FileKind::Folder => return self.put_folder(path, status),
            FileKind::Link => return self.put_link(path, &status.target, status.modified),
            FileKind::Socket => FileType::Socket,
            // a device's number would mean a device of this machine
            FileKind::Fifo | FileKind::CharacterDevice | FileKind::BlockDevice => FileType::Fifo,
        };
        let name = self.new_name();
        mknodat(&self.staging, name.as_str(), kind, mode_of(status), 0)?;
        self.finish(&name, path, status)
    }

    /// Puts a symbolic link at a path, in place of what stands there.
    pub(super) fn put_link(&self, path: &[u8], target: &[u8], modified: Timestamp) -> Result<(), Errno> {
        let name = self.new_name();
        symlinkat(target_of(target)?, &self.staging, name.as_str())?;
        let put = utimensat(
            &self.staging,
            name.as_str(),
            &times(modified),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .and_then(|()| self.rename(&name, path));
        if put.is_err() {
            unlinkat(&self.staging, name.as_str(), AtFlags::empty())?;
        }
        put
    }

    /// Changes a symbolic link by a new one beside it, whose name is that of the link with `_tmp`, and one rename, as a
    /// kubelet changes `..data`: programs that watch the folder get the events that they know.
    pub(super) fn swap_link(&self, path: &[u8], target: &[u8], modified: Timestamp) -> Result<(), Errno> {
        let (folder, name) = split(path)?;
        Changing::begin(self.folder(folder, false)?)?.change(|folder| {
            let temporary = [name.to_bytes(), b"_tmp"].concat();
            let temporary = c_string(&temporary)?;
            match unlinkat(folder, &temporary, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            symlinkat(target_of(target)?, folder, &temporary)?;
            utimensat(folder, &temporary, &times(modified), AtFlags::SYMLINK_NOFOLLOW)?;
            renameat(folder, &temporary, folder, &name)
        })
    }

    /// Makes a folder with the status of another one, or gives one that is there its mode.
    pub(super) fn put_folder(&self, path: &[u8], status: &FileStatus) -> Result<(), Errno> {
        let folder = self.folder(path, true)?;
        let mode = mode_of(status).as_raw_mode();
        match fstat(&folder)?.st_mode & 0o7777 == mode {
            true => Ok(()),
            false => set_mode(&folder, mode),
        }
    }

    /// Gives a folder the time of its last change.
    pub(super) fn set_folder_time(&self, path: &[u8], modified: Timestamp) -> Result<(), Errno> {
        let folder = self.folder(path, false)?;
        let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
        utimensat(CWD, path.as_str(), &times(modified), AtFlags::empty())
    }

    /// Makes the folders on the way to a path, and a folder at it with this mode.
    pub(super) fn make_folder(&self, path: &[u8], mode: Option<RawMode>) -> Result<(), Errno> {
        let folder = self.folder(path, true)?;
        match mode {
            Some(mode) => set_mode(&folder, mode),
            None => Ok(()),
        }
    }

    /// Removes what stands at a path and below it, if anything.
    pub(super) fn remove(&self, path: &[u8]) -> Result<(), Errno> {
        let (folder, name) = split(path)?;
        let folder = match self.folder(folder, false) {
            Ok(folder) => folder,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        Changing::begin(folder)?.change(|folder| remove_entry(folder, &name))
    }

    /// The names in a folder.
    pub(super) fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
        names(&self.folder(path, false)?)
    }

    fn new_name(&self) -> String {
        self.next.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// Gives what was made in the staging folder its mode and time, and puts it at a path.
    fn finish(&self, name: &str, path: &[u8], status: &FileStatus) -> Result<(), Errno> {
        let put = openat(&self.staging, name, PLACE | OFlags::NOFOLLOW, Mode::empty())
            .and_then(|made| set_mode(&made, mode_of(status).as_raw_mode()))
            .and_then(|()| {
                let times = times(status.modified);
                utimensat(&self.staging, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            })
            .and_then(|()| self.rename(name, path));
        if put.is_err() {
            unlinkat(&self.staging, name, AtFlags::empty())?;
        }
        put
    }

    /// Moves what was made in the staging folder to a path, in place of what stands there.
    fn rename(&self, staged: &str, path: &[u8]) -> Result<(), Errno> {
        let (folder, name) = split(path)?;
        Changing::begin(self.folder(folder, true)?)?.change(|folder| {
            match renameat(&self.staging, staged, folder, &name) {
                Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
                    remove_entry(folder, &name)?;
                    renameat(&self.staging, staged, folder, &name)
                }
                renamed => renamed,
            }
        })
    }

    /// The folder at a path. If it is to be made, so are those on the way, in place of what stands there.
    fn folder(&self, path: &[u8], make: bool) -> Result<OwnedFd, Errno> {
        let mut folder = openat(&self.root, ".", FOLDER, Mode::empty())?;
        for name in components(path) {
            let name = c_string(name)?;
            folder = match openat(&folder, &name, FOLDER, Mode::empty()) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if make => {
                    Changing::begin(folder)?.change(|folder| {
                        remove_entry(folder, &name)?;
                        mkdirat(folder, &name, Mode::from_raw_mode(PLAIN_MODE))?;
                        openat(folder, &name, FOLDER, Mode::empty())
                    })?
                }
                opened => opened?,
            };
        }
        Ok(folder)
    }
}

impl Changing {
    /// Changes the folder.
    fn change<T>(self, change: impl FnOnce(&OwnedFd) -> Result<T, Errno>) -> Result<T, Errno> {
        change(&self.folder)
    }
}

/// Removes an entry of a folder with all below it, if it is there.
fn remove_entry(folder: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // what unlink(2) says of folders
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let inner = openat(folder, name, FOLDER, Mode::empty())?;
    // its mode goes with it
    set_mode(&inner, 0o700)?;
    for name in names(&inner)? {
        remove_entry(&inner, &c_string(&name)?)?;
    }
    unlinkat(folder, name, AtFlags::REMOVEDIR)
}

fn names(folder: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for entry in Dir::new(openat(folder, ".", flags, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// The folder of a path, and the name in it.
fn split(path: &[u8]) -> Result<(&[u8], CString), Errno> {
    let end = path.iter().rposition(|byte| *byte == b'/').ok_or(Errno::INVAL)?;
    let (folder, name) = path.split_at_checked(end).ok_or(Errno::INVAL)?;
    let name = name.strip_prefix(b"/").unwrap_or_default();
    Ok((folder, c_string(name)?))
}

/// The components of a path. [`c_string`] refuses `.` and `..`, which decoded paths of agents do not have either.
fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

fn target_of(target: &[u8]) -> Result<CString, Errno> {
    CString::new(target).map_err(|_| Errno::INVAL)
}

/// A name in a folder.
fn c_string(name: &[u8]) -> Result<CString, Errno> {
    match name {
        b"" | b"." | b".." => Err(Errno::INVAL),
        _ => CString::new(name).map_err(|_| Errno::INVAL),
    }
}

/// The container's mode, as far as the session's user keeps the access that the container's has: who can read a file
/// there by its group can read it here as its owner. A file that cannot be read there cannot be read here either.
fn mode_of(status: &FileStatus) -> Mode {
    let mode = RawMode::from(status.mode);
    Mode::from_raw_mode(match (status.kind, status.is_readable) {
        (FileKind::Folder, true) => mode | 0o500,
        (FileKind::Folder, false) => mode & !0o400,
        // nothing here runs as somebody else
        (_, true) => mode & 0o1777 | 0o400,
        (_, false) => mode & 0o1777 & !0o400,
    })
}

fn times(modified: Timestamp) -> Timestamps {
    let time = Timespec {
        tv_sec: modified.seconds,
        tv_nsec: modified.nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Whether a file may be so large. The kernel ends a process that exceeds its limit (setrlimit(2), `RLIMIT_FSIZE`).
pub(super) fn is_within_limit(size: u64) -> bool {
    let limit = getrlimit(Resource::Fsize).current;
    limit.is_none_or(|limit| size <= limit)
}

/// The errno of an error of the standard library.
pub(super) fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}
