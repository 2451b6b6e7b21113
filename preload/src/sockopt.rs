//! getsockopt(2), for `SO_ERROR` alone.
//!
//! The relay reports a failed connect by resetting the program's socket, so the kernel's `SO_ERROR` is `ECONNRESET`;
//! the hook asks the relay for the errno of the connect. The kernel clears `SO_ERROR` when it is read, and the relay
//! forgets the failure likewise. All other results are the kernel's, unchanged.

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
    // SAFETY: the kernel wrote the length and, as far as that says, the value
    let error = || unsafe { error_value(value.cast(), length) };
    match decide(result, level, name, error) {
        Decision::Native => {}
        Decision::AskRelay => {
            if let Some(error) = errno::preserve(|| connect_error(socket)) {
                // SAFETY: the kernel wrote an int there
                unsafe { value.cast::<c_int>().write_unaligned(error.0) };
            }
        }
    }
    result
}

/// What getsockopt(2) does after the kernel has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// The kernel's answer is the program's.
    Native,
    /// The relay is asked whether it reset the socket.
    AskRelay,
}

/// Decides by the kernel's result; `error` reads the option's value.
#[inline]
fn decide(result: c_int, level: c_int, name: c_int, error: impl FnOnce() -> Option<Errno>) -> Decision {
    let is_error_option = result == 0 && level == libc::SOL_SOCKET && name == libc::SO_ERROR;
    match is_error_option && error() == Some(Errno(libc::ECONNRESET)) {
        true => Decision::AskRelay,
        false => Decision::Native,
    }
}

/// The value of `SO_ERROR`; none if the program's buffer is shorter than an int.
///
/// # Safety
///
/// `length` has to be readable, and `value` readable for as many bytes as it says.
unsafe fn error_value(value: *const c_int, length: *const socklen_t) -> Option<Errno> {
    // SAFETY: the caller vouches for it
    let length = unsafe { length.read_unaligned() };
    if (length as usize) < size_of::<c_int>() {
        return None;
    }
    // SAFETY: the value is as long as an int
    Some(Errno(unsafe { value.read_unaligned() }))
}

/// The errno of the connect for which the relay reset this socket, if it did.
pub(crate) fn connect_error(socket: c_int) -> Option<Errno> {
    let session = Session::current()?;
    match Kind::of(socket) {
        Kind::Tcp => remembered_failure::stored_failure(&session, socket),
        Kind::Udp | Kind::Uncarried | Kind::Foreign => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESET: Option<Errno> = Some(Errno(libc::ECONNRESET));

    #[test]
    fn so_error_of_econnreset_asks_relay() {
        let decision = decide(0, libc::SOL_SOCKET, libc::SO_ERROR, || RESET);
        assert_eq!(decision, Decision::AskRelay);
    }

    #[test]
    fn so_error_of_other_errno_or_short_buffer_is_native() {
        for error in [None, Some(Errno(0)), Some(Errno(libc::ECONNREFUSED))] {
            let decision = decide(0, libc::SOL_SOCKET, libc::SO_ERROR, || error);
            assert_eq!(decision, Decision::Native, "{error:?}");
        }
    }

    #[test]
    fn failed_call_or_other_option_is_native_without_reading_the_value() {
        for (result, level, name) in [
            (-1, libc::SOL_SOCKET, libc::SO_ERROR),
            (0, libc::SOL_SOCKET, libc::SO_TYPE),
            (0, libc::IPPROTO_TCP, libc::SO_ERROR),
        ] {
            let decision = decide(result, level, name, || panic!("the value was read"));
            assert_eq!(decision, Decision::Native, "{result} {level} {name}");
        }
    }

    #[test]
    fn error_value_is_read_where_the_length_covers_an_int() {
        let error = libc::ECONNRESET;
        for (length, expected) in [(0, None), (3, None), (4, RESET), (8, RESET)] {
            // SAFETY: both are readable, and no more than an int is read
            let found = unsafe { error_value(&raw const error, &raw const length) };
            assert_eq!(found, expected, "{length}");
        }
    }
}
