//! Programs and libraries below the shadow root: what the workload's volumes hold is not run on this machine, unless
//! the user allowed it (`KINJECT_REMOTE_EXEC`).
//!
//! Scratch mounts hold what this machine's programs wrote there. A file that somebody reads and interprets (`sh FILE`)
//! is opened like any other.

use super::buffer::PathBuffer;
use super::call::{ShadowFacts, fetch_at};
use super::decision::{Facts, LookUp, is_folder};
use super::locate::{Ending, Found, Located, locate};
use super::table::{Table, is_absent};
use crate::errno::Errno;
use crate::exec::report_remote;
use crate::memory;
use crate::session;
use crate::sys;
use core::ffi::CStr;
use kinject_protocol::control::FilePart;
use kinject_protocol::environment::REMOTE_EXEC;
use kinject_protocol::paths::Kind;
use libc::{c_char, c_int};

/// Calls `start` with the folder and the path of a program, below the shadow root or the program's own; gives the
/// error if it is not started.
#[inline]
pub(crate) fn with_program<T>(
    folder: c_int,
    path: *const c_char,
    start: impl FnOnce(c_int, *const c_char) -> T,
) -> Result<T, Errno> {
    if is_absent() {
        return Ok(start(folder, path));
    }
    let mut buffer = PathBuffer::new();
    match program(folder, path, &mut buffer)? {
        None => Ok(start(folder, path)),
        Some(other) => Ok(start(libc::AT_FDCWD, other)),
    }
}

#[inline(never)]
fn program(
    folder: c_int,
    path: *const c_char,
    buffer: &mut PathBuffer,
) -> Result<Option<*const c_char>, Errno> {
    let Some(table) = Table::current().filter(|_| memory::is_path_readable(path)) else {
        return Ok(None);
    };
    // SAFETY: the path can be read
    let text = unsafe { CStr::from_ptr(path) }.to_bytes();
    if !table.may_concern(text, true) {
        return Ok(None);
    }
    let ending = Ending::of(text);
    match locate(&table, folder, text, buffer)? {
        Located::Native => Ok(None),
        // a folder, which is no program
        Located::Parent(_) => Ok(None),
        Located::Elsewhere => Ok(Some(buffer.as_pointer(ending.needs_folder()))),
        Located::Shadow(found) => {
            check(found, ending, buffer)?;
            Ok(Some(buffer.as_pointer(ending.needs_folder())))
        }
    }
}

/// Decides whether the file in the buffer is run; the errors of one that cannot be run come first.
fn check(found: Found, ending: Ending, buffer: &mut PathBuffer) -> Result<(), Errno> {
    if found.kind == Kind::Scratch {
        return Ok(());
    }
    let mode = ShadowFacts {
        found,
        ending,
        buffer: &mut *buffer,
    }
    .mode(LookUp::Followed)?;
    if is_folder(mode) || mode & 0o111 == 0 {
        return Err(Errno(libc::EACCES));
    }
    allow(buffer.path().get(found.root..).unwrap_or_default())?;
    match found.kind {
        Kind::Remote => fetch_at(FilePart::Content, buffer, found.root),
        Kind::Mirrored | Kind::Scratch => Ok(()),
    }
}

/// Decides whether a descriptor's file is run.
pub(crate) fn check_open_program(descriptor: c_int) -> Result<(), Errno> {
    if is_absent() {
        return Ok(());
    }
    let mut buffer = [0; sys::PATH_SIZE];
    let path = sys::path_of_descriptor(descriptor, &mut buffer);
    let paths = Table::current().and_then(|table| table.paths());
    match (paths, path) {
        (Some(paths), Some(path)) => match paths.without_root(path) {
            Some(known) if super::is_of_cluster(&paths, known) => allow(known),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Lets a file of the cluster run if the user allowed it, and otherwise tells him.
fn allow(path: &[u8]) -> Result<(), Errno> {
    // SAFETY: entries point to C strings
    let value = session::variable(REMOTE_EXEC).map(|entry| unsafe { CStr::from_ptr(entry.value()) });
    if value.is_some_and(|value| value.to_bytes() == b"1") {
        return Ok(());
    }
    report_remote(path);
    Err(Errno(libc::EACCES))
}

/// What dlopen(3) opens.
#[cfg(not(test))]
pub(crate) enum Library {
    /// What the program named.
    Own,
    /// The library at this path.
    At(*const c_char),
    /// Nothing: to open this path fails.
    Refused(*const c_char),
}

/// Decides what dlopen(3) opens; the buffer holds the path. A name without a slash is searched for on this machine,
/// and libc puts folders of this machine in the place of `$ORIGIN`, `$LIB` and `$PLATFORM` (ld.so(8)).
#[cfg(not(test))]
#[inline(never)]
pub(crate) fn library_in_session(path: *const c_char, buffer: &mut LibraryPath) -> Library {
    if path.is_null() || is_absent() || !memory::is_path_readable(path) {
        return Library::Own;
    }
    // SAFETY: the path can be read
    let text = unsafe { CStr::from_ptr(path) }.to_bytes();
    let Some(table) = Table::current() else {
        return Library::Own;
    };
    let is_searched_for = text.iter().all(|byte| *byte != b'/');
    if is_searched_for || memory::find(text, b"$").is_some() || !table.may_concern(text, true) {
        return Library::Own;
    }
    let buffer = &mut buffer.0;
    match locate(&table, libc::AT_FDCWD, text, buffer) {
        Ok(Located::Elsewhere) => Library::At(buffer.as_pointer(false)),
        Ok(Located::Shadow(found)) => {
            let is_allowed = found.kind == Kind::Scratch
                || (found.kind == Kind::Mirrored || fetch_at(FilePart::Content, buffer, found.root).is_ok())
                    && allow(buffer.path().get(found.root..).unwrap_or_default()).is_ok();
            match is_allowed {
                true => Library::At(buffer.as_pointer(false)),
                // a file with a slash behind its name is none
                false => Library::Refused(buffer.as_pointer(true).wrapping_add(found.root)),
            }
        }
        Ok(Located::Native | Located::Parent(_)) | Err(_) => Library::Own,
    }
}

/// The path of a library, for the duration of one call.
#[cfg(not(test))]
pub(crate) struct LibraryPath(PathBuffer);

#[cfg(not(test))]
impl LibraryPath {
    pub(crate) fn new() -> Self {
        Self(PathBuffer::new())
    }
}
