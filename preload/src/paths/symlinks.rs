//! symlink(2) and symlinkat(2): the link stands below the shadow root, and so does what it leads to there.

use super::buffer::PathBuffer;
use super::call::{Native, run};
use super::locate::{Ending, Located, locate};
use super::spec::{Action, Failure, Spec, argument};
use super::table::{Table, is_absent};
use super::two_paths::put;
use crate::errno::Errno;
use crate::memory;
use crate::real;
use core::ffi::CStr;
use kinject_protocol::paths::Kind;
use libc::{c_char, c_int};

hook! {
    unsafe fn symlink(target: *const c_char, path: *const c_char) -> c_int => hooked_symlink {
        symlink_in_session(target, path)
    }
}

hook! {
    unsafe fn symlinkat(target: *const c_char, folder: c_int, path: *const c_char) -> c_int => hooked_symlinkat {
        symlinkat_in_session(target, folder, path)
    }
}

extern "C" fn symlink_in_session(target: *const c_char, path: *const c_char) -> c_int {
    let Some(native) = real::symlink.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    let native = Native::Function(native as usize);
    link_named_in_session(native, super::arguments![target, path], None, 1) as c_int
}

extern "C" fn symlinkat_in_session(target: *const c_char, folder: c_int, path: *const c_char) -> c_int {
    let Some(native) = real::symlinkat.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    let native = Native::Function(native as usize);
    link_named_in_session(native, super::arguments![target, folder, path], Some(1), 2) as c_int
}

/// Makes a symbolic link. A target below the shadow root has its path there, by which the kernel follows it.
pub(crate) fn link_named_in_session(
    native: Native,
    mut arguments: [usize; 6],
    folder: Option<u8>,
    path: u8,
) -> usize {
    let spec = Spec {
        folder,
        path,
        action: Action::Create,
        failure: Failure::MinusOne,
    };
    if is_absent() {
        return native.call(&arguments);
    }
    let mut buffer = PathBuffer::new();
    if let Some(target) = target_in_shadow(&arguments, spec, &mut buffer) {
        put(&mut arguments, Some(0), target as usize);
    }
    run(native, arguments, spec)
}

#[inline(never)]
fn target_in_shadow(arguments: &[usize; 6], spec: Spec, buffer: &mut PathBuffer) -> Option<*const c_char> {
    let [target, path] = [0, spec.path].map(|position| argument(arguments, position) as *const c_char);
    let table = Table::current()?;
    if !memory::is_path_readable(target) || !memory::is_path_readable(path) {
        return None;
    }
    // SAFETY: they can be read
    let [target, path] = [target, path].map(|text| unsafe { CStr::from_ptr(text) }.to_bytes());
    let is_scratch = |located| matches!(located, Ok(Located::Shadow(found)) if found.kind == Kind::Scratch);
    if !target.starts_with(b"/") || !table.may_concern(target, true) || !table.may_concern(path, true) {
        return None;
    }
    let folder = match spec.folder {
        Some(position) => argument(arguments, position) as c_int,
        None => libc::AT_FDCWD,
    };
    if !is_scratch(locate(&table, folder, path, buffer)) {
        return None;
    }
    match locate(&table, libc::AT_FDCWD, target, buffer) {
        Ok(Located::Shadow(_)) => Some(buffer.as_pointer(Ending::of(target).needs_folder())),
        _ => None,
    }
}
