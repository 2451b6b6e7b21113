//! gethostname(2) and uname(2): the name of the workload's pod, where the session has one (`KINJECT_HOSTNAME`).
//!
//! A program sees its own host's name nowhere else: /proc/sys/kernel/hostname and /etc/hostname stay the machine's.

use crate::errno::Errno;
use crate::memory;
use crate::real;
use crate::session::{self, Session};
use core::ffi::CStr;
use core::ptr;
use kinject_protocol::environment::HOSTNAME;
use libc::{c_char, c_int, size_t, utsname};

hook! {
    unsafe fn gethostname(name: *mut c_char, size: size_t) -> c_int => hooked_gethostname {
        gethostname_in_session(name, size)
    }
}

hook! {
    unsafe fn __gethostname_chk(name: *mut c_char, size: size_t, room: size_t) -> c_int => hooked_gethostname_chk {
        gethostname_chk_in_session(name, size, room)
    }
}

hook! {
    unsafe fn uname(names: *mut utsname) -> c_int => hooked_uname {
        uname_in_session(names)
    }
}

/// The name, which is not empty.
fn hostname() -> Option<&'static CStr> {
    let entry = session::variable(HOSTNAME)?;
    Session::current()?;
    // SAFETY: entries point to C strings
    let name = unsafe { CStr::from_ptr(entry.value()) };
    (!name.is_empty()).then_some(name)
}

extern "C" fn gethostname_in_session(name: *mut c_char, size: size_t) -> c_int {
    let Some(native) = real::gethostname.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    // SAFETY: these are the program's own arguments
    let result = unsafe { native(name, size) };
    // a name that is too long for the program's buffer fails, and this one may be shorter
    let is_valid = result == 0 || (size > 0 && Errno::current() == Errno(libc::ENAMETOOLONG));
    match hostname().filter(|_| is_valid) {
        // SAFETY: libc wrote to the buffer
        Some(own) => unsafe { put(own, name, size) },
        None => result,
    }
}

extern "C" fn gethostname_chk_in_session(name: *mut c_char, size: size_t, room: size_t) -> c_int {
    match real::__gethostname_chk.get() {
        // libc ends the program
        // SAFETY: these are the program's own arguments
        Some(native) if size > room => unsafe { native(name, size, room) },
        _ => gethostname_in_session(name, size),
    }
}

extern "C" fn uname_in_session(names: *mut utsname) -> c_int {
    match real::uname.get() {
        // SAFETY: this is the program's own argument
        Some(native) => named_in_session(names, unsafe { native(names) }),
        None => Errno(libc::ENOSYS).fail(),
    }
}

/// Replaces the host's name in what uname(2) wrote; `result` is what it returned.
pub(crate) fn named_in_session(names: *mut utsname, result: c_int) -> c_int {
    let own = match result {
        0 => hostname(),
        _ => None,
    };
    let Some(own) = own.filter(|_| memory::is_writable(names.cast(), size_of::<utsname>())) else {
        return result;
    };
    // SAFETY: the kernel wrote a whole structure there
    let field = unsafe { &mut (*names).nodename };
    // SAFETY: the field is writable; a longer name is cut, as no field of the kernel's holds it
    let _is_whole = unsafe { put(own, field.as_mut_ptr(), field.len()) };
    if let Some(last) = field.last_mut() {
        *last = 0;
    }
    result
}

/// Copies what fits of the name, as gethostname(2) of libc does.
///
/// # Safety
///
/// `size` bytes at `buffer` have to be writable.
unsafe fn put(name: &CStr, buffer: *mut c_char, size: usize) -> c_int {
    let whole = name.to_bytes_with_nul().len();
    // SAFETY: the caller vouches for the buffer
    unsafe { ptr::copy_nonoverlapping(name.as_ptr(), buffer, whole.min(size)) };
    match whole > size {
        true => Errno(libc::ENAMETOOLONG).fail(),
        false => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_longer_than_the_buffer_is_cut_and_fails() {
        let mut buffer = [b'x' as c_char; 8];
        let mut put_into = |size| {
            // SAFETY: the buffer is longer
            let result = unsafe { put(c"web-0", buffer.as_mut_ptr(), size) };
            (result, buffer.map(|byte| byte as u8))
        };
        assert_eq!(put_into(3), (-1, *b"webxxxxx"));
        assert_eq!(Errno::current(), Errno(libc::ENAMETOOLONG));
        assert_eq!(put_into(5), (-1, *b"web-0xxx"));
        assert_eq!(put_into(8), (0, *b"web-0\0xx"));
    }
}
