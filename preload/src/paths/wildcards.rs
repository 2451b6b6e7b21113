//! glob(3). libc's function opens folders by internal calls; with `GLOB_ALTDIRFUNC` it calls functions of ours, so
//! that the results are the program's paths. A program that has functions of its own keeps them.

use super::call::{Native, run};
use super::hooks::native;
use super::spec::{Action, Failure, Spec};
use super::table::Table;
use crate::errno::Errno;
use crate::files::{lstat_in_session, lxstat_in_session, stat_in_session, xstat_in_session};
use crate::real;
use core::mem::offset_of;
use libc::{c_char, c_int, c_void};

/// glob.h: the structure has functions in place of opendir(3) and others.
const GLOB_ALTDIRFUNC: c_int = 1 << 9;

/// `glob_t` of glob.h.
#[repr(C)]
struct Results {
    count: usize,
    paths: *mut *mut c_char,
    offset: usize,
    flags: c_int,
    functions: Functions,
}

/// The functions in it, which are not initialised unless the program uses them.
#[repr(C)]
#[derive(Clone, Copy)]
struct Functions {
    close: usize,
    read: usize,
    open: usize,
    link_status: usize,
    status: usize,
}

// glob.h's layout on 64-bit machines
const _: () = assert!(offset_of!(Results, functions) == 32 && size_of::<Results>() == 72);

hook! {
    unsafe fn glob(
        pattern: *const c_char, flags: c_int, on_error: *const c_void, results: *mut c_void
    ) -> c_int => hooked_glob {
        glob_in_session(pattern, flags, on_error, results)
    }
}

hook! {
    unsafe fn glob64(
        pattern: *const c_char, flags: c_int, on_error: *const c_void, results: *mut c_void
    ) -> c_int => hooked_glob64 {
        glob64_in_session(pattern, flags, on_error, results)
    }
}

type Glob = unsafe extern "C" fn(*const c_char, c_int, *const c_void, *mut c_void) -> c_int;

extern "C" fn glob_in_session(
    pattern: *const c_char,
    flags: c_int,
    on_error: *const c_void,
    results: *mut c_void,
) -> c_int {
    glob_by(real::glob.get(), pattern, flags, on_error, results)
}

extern "C" fn glob64_in_session(
    pattern: *const c_char,
    flags: c_int,
    on_error: *const c_void,
    results: *mut c_void,
) -> c_int {
    glob_by(real::glob64.get(), pattern, flags, on_error, results)
}

fn glob_by(
    native: Option<Glob>,
    pattern: *const c_char,
    flags: c_int,
    on_error: *const c_void,
    results: *mut c_void,
) -> c_int {
    let Some(native) = native else {
        return Errno(libc::ENOSYS).fail();
    };
    // libc refuses a call without results
    let is_own = results.is_null() || flags & GLOB_ALTDIRFUNC != 0 || Table::current().is_none();
    let functions = match is_own {
        true => None,
        false => own_functions(),
    };
    let Some(own) = functions else {
        // SAFETY: these are the program's own arguments
        return unsafe { native(pattern, flags, on_error, results) };
    };
    let results = results.cast::<Results>();
    // SAFETY: the structure is the program's, which libc writes to; its functions may be uninitialised numbers
    let field = unsafe { &raw mut (*results).functions };
    // SAFETY: as above
    let kept = unsafe { field.cast::<core::mem::MaybeUninit<Functions>>().read() };
    // SAFETY: as above
    unsafe { field.write(own) };
    // SAFETY: as above, with functions that have the signatures of glob.h
    let code = unsafe { native(pattern, flags | GLOB_ALTDIRFUNC, on_error, results.cast()) };
    // SAFETY: as above
    unsafe { field.cast::<core::mem::MaybeUninit<Functions>>().write(kept) };
    // SAFETY: libc wrote the flags
    unsafe { (*results).flags &= !GLOB_ALTDIRFUNC };
    code
}

/// The functions that glob(3) calls; none if this machine's libc lacks one.
fn own_functions() -> Option<Functions> {
    let (link_status, status) = status_functions()?;
    Some(Functions {
        close: real::closedir.get()? as usize,
        read: real::readdir.get()? as usize,
        open: open_folder as *const () as usize,
        link_status: link_status as usize,
        status: status as usize,
    })
}

type Status = extern "C" fn(*const c_char, *mut c_void) -> c_int;

/// lstat(2) and stat(2), which libc has under these names since glibc 2.33.
fn status_functions() -> Option<(Status, Status)> {
    if real::lstat.get().is_some() && real::stat.get().is_some() {
        return Some((lstat_in_session, stat_in_session));
    }
    real::__lxstat.get()?;
    real::__xstat.get()?;
    Some((link_status_before_2_33, status_before_2_33))
}

/// The version of `struct stat` (bits/stat.h).
const STATUS_VERSION: c_int = if cfg!(target_arch = "aarch64") { 0 } else { 1 };

extern "C" fn link_status_before_2_33(path: *const c_char, status: *mut c_void) -> c_int {
    lxstat_in_session(STATUS_VERSION, path, status)
}

extern "C" fn status_before_2_33(path: *const c_char, status: *mut c_void) -> c_int {
    xstat_in_session(STATUS_VERSION, path, status)
}

extern "C" fn open_folder(path: *const c_char) -> *mut c_void {
    const SPEC: Spec = Spec::path(Action::List).with_pointer();
    match native::opendir.get() {
        Some(native) => run(Native::Function(native as usize), super::arguments![path], SPEC) as *mut c_void,
        None => Failure::Null.fail(Errno(libc::ENOSYS)) as *mut c_void,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::MaybeUninit;

    /// What a function says of a path.
    fn told(function: Status, path: &core::ffi::CStr) -> Result<(u64, u32), Errno> {
        let mut status = MaybeUninit::<libc::stat>::zeroed();
        match function(path.as_ptr(), status.as_mut_ptr().cast()) {
            0 => {
                // SAFETY: all zeros are a status, and the kernel wrote another one
                let status = unsafe { status.assume_init() };
                Ok((status.st_ino, status.st_mode))
            }
            _ => Err(Errno::current()),
        }
    }

    #[test]
    fn status_by_the_functions_of_glibc_before_2_33_is_the_same() {
        let (link_status, status) = status_functions().unwrap();
        for path in [c"/etc/passwd", c"/proc/self", c"/nonexistent"] {
            assert_eq!(told(status_before_2_33, path), told(status, path), "{path:?}");
            let link = told(link_status_before_2_33, path);
            assert_eq!(link, told(link_status, path), "{path:?}");
        }
        assert!(told(status_before_2_33, c"/etc/passwd").is_ok());
        let link = told(link_status_before_2_33, c"/proc/self").map(|(_, mode)| mode & libc::S_IFMT);
        assert_eq!(link, Ok(libc::S_IFLNK));
    }
}
