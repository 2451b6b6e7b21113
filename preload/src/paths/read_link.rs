//! readlink(2), readlinkat(2) and their fortified twins. A target below the shadow root is told without it, also that of
//! `/proc/self/fd/N`, which the kernel makes of the path of an open file.

use super::call::{Native, run};
use super::spec::{Action, Failure, Spec, argument};
use super::table::{Table, is_absent};
use crate::errno::Errno;
use crate::memory;
use crate::real;
use crate::sys;
use core::ptr;
use libc::{c_char, c_int, size_t, ssize_t};

hook! {
    unsafe fn readlink(path: *const c_char, target: *mut c_char, size: size_t) -> ssize_t => hooked_readlink {
        readlink_in_session(path, target, size)
    }
}

hook! {
    unsafe fn __readlink_chk(
        path: *const c_char, target: *mut c_char, size: size_t, room: size_t
    ) -> ssize_t => hooked_readlink_chk {
        readlink_chk_in_session(path, target, size, room)
    }
}

hook! {
    unsafe fn readlinkat(
        folder: c_int, path: *const c_char, target: *mut c_char, size: size_t
    ) -> ssize_t => hooked_readlinkat {
        readlinkat_in_session(folder, path, target, size)
    }
}

hook! {
    unsafe fn __readlinkat_chk(
        folder: c_int, path: *const c_char, target: *mut c_char, size: size_t, room: size_t
    ) -> ssize_t => hooked_readlinkat_chk {
        readlinkat_chk_in_session(folder, path, target, size, room)
    }
}

/// Makes a call that reads a link. The target's buffer and its size follow the path, as they do in each of these
/// functions.
///
/// The kernel writes to a buffer of ours: what follows the target in the program's buffer stays as it is.
pub(crate) fn link_in_session(native: Native, arguments: [usize; 6], spec: Spec) -> usize {
    if is_absent() || argument(&arguments, spec.path + 2) == 0 {
        return run(native, arguments, spec);
    }
    read_link(native, arguments, spec)
}

#[inline(never)]
fn read_link(native: Native, arguments: [usize; 6], spec: Spec) -> usize {
    let mut whole = [0_u8; sys::PATH_SIZE];
    let mut changed = arguments;
    for (position, value) in [
        (spec.path + 1, whole.as_mut_ptr() as usize),
        (spec.path + 2, whole.len()),
    ] {
        if let Some(field) = changed.get_mut(usize::from(position)) {
            *field = value;
        }
    }
    let length = run(native, changed, spec);
    if spec.failure.is(length) {
        return length;
    }
    let found = whole.get(..length).unwrap_or_default();
    let paths = Table::current().and_then(|table| table.paths());
    let shown = paths.and_then(|paths| paths.without_root(found)).unwrap_or(found);
    let target = argument(&arguments, spec.path + 1) as *mut u8;
    let count = shown.len().min(argument(&arguments, spec.path + 2));
    if count > 0 && !memory::is_writable(target.cast(), count) {
        return spec.failure.fail(Errno(libc::EFAULT));
    }
    // SAFETY: the target was found to be writable
    unsafe { ptr::copy_nonoverlapping(shown.as_ptr(), target, count) };
    count
}

/// How a link is read.
const LINK: Spec = Spec::path(Action::Ask);
const LINK_AT: Spec = Spec::at(Action::Ask);

extern "C" fn readlink_in_session(path: *const c_char, target: *mut c_char, size: size_t) -> ssize_t {
    match real::readlink.get() {
        Some(native) => by_function(native as usize, super::arguments![path, target, size], LINK),
        None => absent(),
    }
}

extern "C" fn readlink_chk_in_session(
    path: *const c_char,
    target: *mut c_char,
    size: size_t,
    room: size_t,
) -> ssize_t {
    match real::__readlink_chk.get() {
        // libc ends the program
        Some(native) if size > room => {
            by_function(native as usize, super::arguments![path, target, size, room], LINK)
        }
        _ => readlink_in_session(path, target, size),
    }
}

extern "C" fn readlinkat_in_session(
    folder: c_int,
    path: *const c_char,
    target: *mut c_char,
    size: size_t,
) -> ssize_t {
    match real::readlinkat.get() {
        Some(native) => by_function(
            native as usize,
            super::arguments![folder, path, target, size],
            LINK_AT,
        ),
        None => absent(),
    }
}

extern "C" fn readlinkat_chk_in_session(
    folder: c_int,
    path: *const c_char,
    target: *mut c_char,
    size: size_t,
    room: size_t,
) -> ssize_t {
    match real::__readlinkat_chk.get() {
        // as above
        Some(native) if size > room => by_function(
            native as usize,
            super::arguments![folder, path, target, size, room],
            LINK_AT,
        ),
        _ => readlinkat_in_session(folder, path, target, size),
    }
}

fn by_function(native: usize, arguments: [usize; 6], spec: Spec) -> ssize_t {
    link_in_session(Native::Function(native), arguments, spec) as ssize_t
}

fn absent() -> ssize_t {
    Failure::MinusOne.fail(Errno(libc::ENOSYS)) as ssize_t
}
