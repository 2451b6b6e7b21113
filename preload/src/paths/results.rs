//! Results that are paths: getcwd(3), realpath(3). What is below the shadow root is told without it.
//!
//! The program's buffers were measured for the container's path, which is shorter: the kernel writes to a buffer of
//! ours, or libc to one that holds any path.

use super::buffer::PathBuffer;
use super::call::fetch_at;
use super::locate::{Ending, Located, locate, put_in_shadow};
use super::spec::Failure;
use super::table::{Table, is_absent};
use crate::errno::{self, Errno};
use crate::memory;
use crate::real;
use crate::sys;
use core::ffi::CStr;
use core::ptr;
use kinject_protocol::control::FilePart;
use kinject_protocol::paths::Kind;
use libc::{c_char, c_void, size_t};

hook! {
    unsafe fn getcwd(buffer: *mut c_char, size: size_t) -> *mut c_char => hooked_getcwd {
        getcwd_in_session(buffer, size)
    }
}

hook! {
    unsafe fn __getcwd_chk(buffer: *mut c_char, size: size_t, room: size_t) -> *mut c_char => hooked_getcwd_chk {
        getcwd_chk_in_session(buffer, size, room)
    }
}

hook! {
    unsafe fn getwd(buffer: *mut c_char) -> *mut c_char => hooked_getwd {
        getwd_in_session(buffer)
    }
}

hook! {
    unsafe fn __getwd_chk(buffer: *mut c_char, room: size_t) -> *mut c_char => hooked_getwd_chk {
        getwd_chk_in_session(buffer, room)
    }
}

hook! {
    unsafe fn get_current_dir_name() -> *mut c_char => hooked_get_current_dir_name {
        get_current_dir_name_in_session()
    }
}

hook! {
    unsafe fn realpath(path: *const c_char, resolved: *mut c_char) -> *mut c_char => hooked_realpath {
        realpath_in_session(path, resolved)
    }
}

hook! {
    unsafe fn __realpath_chk(
        path: *const c_char, resolved: *mut c_char, room: size_t
    ) -> *mut c_char => hooked_realpath_chk {
        realpath_chk_in_session(path, resolved, room)
    }
}

hook! {
    unsafe fn canonicalize_file_name(path: *const c_char) -> *mut c_char => hooked_canonicalize_file_name {
        canonicalize_file_name_in_session(path)
    }
}

fn no_path() -> *mut c_char {
    Failure::Null.fail(Errno(libc::ENOSYS)) as *mut c_char
}

/// The container's path of the working directory, in the buffer; none if it is not below the shadow root.
fn folder_below_root(whole: &mut [u8]) -> Option<&[u8]> {
    let paths = Table::current()?.paths()?;
    paths.without_root(sys::current_folder(whole)?)
}

/// Writes the working directory where it is below the shadow root, with a null; gives its length with that. None if
/// it is elsewhere.
///
/// `buffer` may be anything that is as long as `size`: the kernel checks it.
pub(crate) fn current_folder_in_session(buffer: *mut c_char, size: size_t) -> Option<Result<usize, Errno>> {
    if is_absent() {
        return None;
    }
    let mut whole = [0; sys::PATH_SIZE];
    let folder = folder_below_root(&mut whole)?;
    let length = folder.len().saturating_add(1);
    if length > size {
        return Some(Err(Errno(libc::ERANGE)));
    }
    let last = length.saturating_sub(1);
    if !memory::is_writable(buffer.cast(), 1) || !memory::is_writable(buffer.wrapping_add(last).cast(), 1) {
        return Some(Err(Errno(libc::EFAULT)));
    }
    // SAFETY: the buffer is the program's, writable at both ends and at least that long
    unsafe { ptr::copy_nonoverlapping(folder.as_ptr(), buffer.cast(), folder.len()) };
    // SAFETY: as above
    unsafe { *buffer.wrapping_add(last) = 0 };
    Some(Ok(length))
}

extern "C" fn getcwd_in_session(buffer: *mut c_char, size: size_t) -> *mut c_char {
    let Some(native) = real::getcwd.get() else {
        return no_path();
    };
    if is_absent() {
        // SAFETY: these are the program's own arguments
        return unsafe { native(buffer, size) };
    }
    if buffer.is_null() {
        return allocated_folder(size, native);
    }
    match errno::preserve(|| current_folder_in_session(buffer, size)) {
        // SAFETY: as above
        None => unsafe { native(buffer, size) },
        Some(Ok(_)) => buffer,
        Some(Err(_)) if size == 0 => Failure::Null.fail(Errno(libc::EINVAL)) as *mut c_char,
        Some(Err(error)) => Failure::Null.fail(error) as *mut c_char,
    }
}

/// getcwd(3) into memory that libc allocates: as much as the program wants, or as much as is needed.
fn allocated_folder(
    size: size_t,
    native: unsafe extern "C" fn(*mut c_char, size_t) -> *mut c_char,
) -> *mut c_char {
    let mut whole = [0; sys::PATH_SIZE];
    let needed =
        errno::preserve(|| folder_below_root(&mut whole).map(|folder| folder.len().saturating_add(1)));
    match needed {
        // SAFETY: libc allocates the buffer
        None => unsafe { native(ptr::null_mut(), size) },
        Some(needed) if size != 0 && size < needed => Failure::Null.fail(Errno(libc::ERANGE)) as *mut c_char,
        Some(_) => {
            // what the program sees is shorter
            let size = if size == 0 { 0 } else { size.max(sys::PATH_SIZE) };
            // SAFETY: as above
            shown(unsafe { native(ptr::null_mut(), size) })
        }
    }
}

extern "C" fn getcwd_chk_in_session(buffer: *mut c_char, size: size_t, room: size_t) -> *mut c_char {
    match real::__getcwd_chk.get() {
        // libc ends the program
        // SAFETY: these are the program's own arguments
        Some(native) if size > room => unsafe { native(buffer, size, room) },
        _ => getcwd_in_session(buffer, size),
    }
}

extern "C" fn getwd_in_session(buffer: *mut c_char) -> *mut c_char {
    match real::getwd.get() {
        // SAFETY: this is the program's own argument
        Some(native) => shown(unsafe { native(buffer) }),
        None => no_path(),
    }
}

extern "C" fn getwd_chk_in_session(buffer: *mut c_char, room: size_t) -> *mut c_char {
    match real::__getwd_chk.get() {
        // SAFETY: these are the program's own arguments
        Some(native) => shown(unsafe { native(buffer, room) }),
        None => no_path(),
    }
}

extern "C" fn get_current_dir_name_in_session() -> *mut c_char {
    match real::get_current_dir_name.get() {
        // SAFETY: it takes no argument
        Some(native) => shown(unsafe { native() }),
        None => no_path(),
    }
}

extern "C" fn realpath_in_session(path: *const c_char, resolved: *mut c_char) -> *mut c_char {
    let Some(native) = real::realpath.get() else {
        return no_path();
    };
    // SAFETY: these are the program's own arguments, or a path of ours
    resolve(path, |path| unsafe { native(path, resolved) })
}

extern "C" fn realpath_chk_in_session(
    path: *const c_char,
    resolved: *mut c_char,
    room: size_t,
) -> *mut c_char {
    let Some(native) = real::__realpath_chk.get() else {
        return no_path();
    };
    // SAFETY: as above
    resolve(path, |path| unsafe { native(path, resolved, room) })
}

extern "C" fn canonicalize_file_name_in_session(path: *const c_char) -> *mut c_char {
    let Some(native) = real::canonicalize_file_name.get() else {
        return no_path();
    };
    // SAFETY: as above
    resolve(path, |path| unsafe { native(path) })
}

#[inline]
fn resolve(path: *const c_char, native: impl FnOnce(*const c_char) -> *mut c_char) -> *mut c_char {
    if is_absent() {
        return native(path);
    }
    let mut buffer = PathBuffer::new();
    match path_to_resolve(path, &mut buffer) {
        Ok(path) => shown(native(path)),
        Err(error) => Failure::Null.fail(error) as *mut c_char,
    }
}

/// The path that libc resolves: below the shadow root, or the program's own.
#[inline(never)]
fn path_to_resolve(path: *const c_char, buffer: &mut PathBuffer) -> Result<*const c_char, Errno> {
    // libc reads the path as well, except a null pointer
    if path.is_null() || !memory::is_path_readable(path) {
        return Ok(path);
    }
    // SAFETY: the path can be read
    let text = unsafe { CStr::from_ptr(path) }.to_bytes();
    let Some(table) = Table::current().filter(|table| table.may_concern(text, false)) else {
        return Ok(path);
    };
    let needs_folder = Ending::of(text).needs_folder();
    match locate(&table, libc::AT_FDCWD, text, buffer)? {
        Located::Native => Ok(path),
        Located::Elsewhere => Ok(buffer.as_pointer(needs_folder)),
        Located::Parent(above) => {
            let native = match above.is_elsewhere {
                true => buffer.as_pointer(needs_folder),
                false => path,
            };
            if sys::mode_at(libc::AT_FDCWD, native, 0) != Err(Errno(libc::ENOENT)) {
                return Ok(native);
            }
            let root = put_in_shadow(&table, above, buffer).ok_or(Errno(libc::ENOENT))?;
            if above.kind == Kind::Remote {
                fetch_at(FilePart::Status, buffer, root)?;
            }
            Ok(buffer.as_pointer(needs_folder))
        }
        Located::Shadow(found) => {
            if found.kind == Kind::Remote {
                fetch_at(FilePart::Status, buffer, found.root)?;
            }
            Ok(buffer.as_pointer(needs_folder))
        }
    }
}

/// Takes the root away from a path that libc wrote, null or a C string.
fn shown(path: *mut c_char) -> *mut c_char {
    if is_absent() || path.is_null() {
        return path;
    }
    let Some(paths) = Table::current().and_then(|table| table.paths()) else {
        return path;
    };
    // SAFETY: libc wrote a C string there
    let text = unsafe { CStr::from_ptr(path) }.to_bytes_with_nul();
    let root = paths.root();
    match text.strip_prefix(root) {
        Some(rest @ [b'/', ..]) => {
            let (start, count) = (rest.as_ptr(), rest.len());
            // SAFETY: the rest is part of the string, whose memory is the program's, or new
            unsafe { ptr::copy(start.cast::<c_void>(), path.cast::<c_void>(), count) };
        }
        // SAFETY: the string is longer than this one
        Some([0]) => unsafe { ptr::copy_nonoverlapping(c"/".as_ptr(), path, 2) },
        _ => {}
    }
    path
}
