//! getsockopt(2), for `SO_ERROR` alone.
//!
//! A connect that failed in the cluster wakes the program by a reset of its socket, so the kernel's `SO_ERROR` says
//! `ECONNRESET`; the relay knows what it was. The kernel clears `SO_ERROR` as it is read, and the relay forgets it as
//! well. Everything else is the kernel's answer, untouched.

use crate::errno::{self, Errno};
use crate::session::Session;
use crate::socket::Kind;
use crate::{real, remembered_failure};
use libc::{c_int, c_void, socklen_t};

hook! {
    unsafe fn getsockopt(
        socket: c_int,
        level: c_int,
        name: c_int,
        value: *mut c_void,
        length: *mut socklen_t
    ) -> c_int => hooked {
        getsockopt_in_session(socket, level, name, value, length)
    }
}

pub(crate) extern "C" fn getsockopt_in_session(
    socket: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    let Some(native) = real::getsockopt.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    // SAFETY: these are the program's own arguments, which the kernel checks
    let result = unsafe { native(socket, level, name, value, length) };
    if result == 0 && level == libc::SOL_SOCKET && name == libc::SO_ERROR {
        // SAFETY: the kernel wrote both a moment ago, the value as far as the length says
        unsafe { translate(socket, value.cast(), length) };
    }
    result
}

/// # Safety
///
/// `length` has to be readable, and `value` readable and writable for as many bytes as it says.
unsafe fn translate(socket: c_int, value: *mut c_int, length: *const socklen_t) {
    // SAFETY: the caller vouches for it
    let length = unsafe { length.read_unaligned() };
    if (length as usize) < size_of::<c_int>() {
        return;
    }
    // SAFETY: the value is as long as an int
    if unsafe { value.read_unaligned() } != libc::ECONNRESET {
        return;
    }
    if let Some(error) = errno::kept(|| true_error(socket)) {
        // SAFETY: as above
        unsafe { value.write_unaligned(error.0) };
    }
}

/// What the error of a socket that was reset is for the program, if it is another one.
pub(crate) fn true_error(socket: c_int) -> Option<Errno> {
    let session = Session::current()?;
    match Kind::of(socket) {
        Kind::Tcp => remembered_failure::stored_failure(&session, socket),
        Kind::Udp | Kind::Uncarried | Kind::Foreign => None,
    }
}
