//! A file that is opened by one of the process's own descriptors (`/proc/self/fd/N`): the kernel opens that very file.
//! If the descriptor is of `O_PATH`, its status alone was asked for, and the relay has to write the content into it.

use super::fetch::fetch;
use super::table::Table;
use crate::errno::Errno;
use crate::sys;
use kinject_protocol::control::FilePart;
use kinject_protocol::paths::{Kind, Route};
use libc::c_int;

/// The folders of descriptors (proc_pid_fd(5)).
const FOLDERS: [&[u8]; 3] = [b"/proc/self/fd/", b"/dev/fd/", b"/proc/thread-self/fd/"];

/// Whether a path names a descriptor of the process.
#[inline]
pub(super) fn is_descriptor(path: &[u8]) -> bool {
    FOLDERS.iter().any(|folder| path.starts_with(folder))
}

/// Lets the relay write the content into a remote file that was opened. `ESTALE` if the container has another file at
/// its path by now.
#[cold]
#[inline(never)]
pub(super) fn complete(table: &Table, opened: c_int) -> Result<(), Errno> {
    let status = sys::status(opened)?;
    let is_file = status.st_mode & libc::S_IFMT == libc::S_IFREG;
    // what has blocks has its content
    if !is_file || status.st_size == 0 || status.st_blocks != 0 {
        return Ok(());
    }
    let (mut before, mut after) = ([0; sys::PATH_SIZE], [0; sys::PATH_SIZE]);
    let Some(path) = sys::path_of_descriptor(opened, &mut before) else {
        return Ok(());
    };
    let Some(paths) = table.paths() else {
        return Ok(());
    };
    let Some(known) = paths.without_root(path) else {
        return Ok(());
    };
    if !matches!(paths.route(known), Route::Shadow(place) if place.kind == Kind::Remote) {
        return Ok(());
    }
    fetch(FilePart::Content, known)?;
    match sys::path_of_descriptor(opened, &mut after) == Some(path) {
        true => Ok(()),
        false => Err(Errno(libc::ESTALE)),
    }
}
