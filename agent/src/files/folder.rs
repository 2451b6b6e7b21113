//! The entries of a folder.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

use kinject_tunnel::files::{FileKind, MAX_ENTRIES, NamedStatus};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::fstatat;
use nix::unistd::faccessat;

use super::status::{Found, is_readable, kind_of, status};

/// The most bytes of names and link targets in one answer.
const MAX_TEXT: usize = 16 * 1024 * 1024;

/// All entries with their status; `EOVERFLOW` if they are more than an answer takes.
pub(super) fn entries(folder: &Found) -> Result<Vec<NamedStatus>, Errno> {
    let mut folder = Dir::from_fd(folder.open(OFlag::O_DIRECTORY)?)?;
    let mut entries = Vec::new();
    let mut text = 0;
    for name in names(&mut folder)? {
        match entry(&folder, &name) {
            Ok(entry) => {
                text += entry.name.len() + entry.status.target.len();
                entries.push(entry);
            }
            // removed meanwhile
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        if text > MAX_TEXT {
            return Err(Errno::EOVERFLOW);
        }
    }
    Ok(entries)
}

/// The names in a folder.
pub(super) fn names(folder: &mut Dir) -> Result<Vec<std::ffi::CString>, Errno> {
    let mut names = Vec::new();
    for found in folder.iter() {
        let name = found?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
        if names.len() > MAX_ENTRIES {
            return Err(Errno::EOVERFLOW);
        }
    }
    Ok(names)
}

fn entry(folder: &Dir, name: &CStr) -> Result<NamedStatus, Errno> {
    let raw = fstatat(folder.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let target = match kind_of(&raw) {
        FileKind::Link => readlinkat(folder.as_fd(), name)?.into_vec(),
        _ => Vec::new(),
    };
    let is_readable = is_readable(&raw, |wanted| {
        faccessat(folder.as_fd(), name, wanted, AtFlags::empty())
    });
    Ok(NamedStatus {
        name: name.to_bytes().to_vec(),
        status: status(&raw, target, is_readable),
    })
}
