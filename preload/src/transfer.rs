//! read(2), write(2), recv(2), send(2) and similar calls, for one error alone.
//!
//! The relay reports a failed connect by resetting the program's socket ([`crate::sockopt`]). Most programs read
//! `SO_ERROR` then; one that reads or writes instead gets the socket's pending error from that call. If it is
//! `ECONNRESET`, the hook asks the relay whether a connect failed with another errno. All other results are the
//! kernel's, and cost a comparison.

use crate::errno::Errno;
use crate::{real, sockopt};
use libc::{c_int, c_void, iovec, size_t, ssize_t};

/// Declares hooks of functions whose `ECONNRESET` may stand for the errno of a connect.
macro_rules! transferring {
    ($($name:ident = $hooked:ident, $in_session:ident($($argument:ident: $type:ty),*);)*) => {$(
        hook! {
            unsafe fn $name(socket: c_int $(, $argument: $type)*) -> ssize_t => $hooked {
                $in_session(socket $(, $argument)*)
            }
        }

        extern "C" fn $in_session(socket: c_int $(, $argument: $type)*) -> ssize_t {
            let Some(native) = real::$name.get() else {
                return Errno(libc::ENOSYS).fail() as ssize_t;
            };
            // SAFETY: these are the program's own arguments, which libc and the kernel check
            translate_errno(socket, unsafe { native(socket $(, $argument)*) })
        }
    )*};
}

transferring! {
    read = hooked_read, read_in_session(buffer: *mut c_void, size: size_t);
    __read = hooked_read_alias, read_alias_in_session(buffer: *mut c_void, size: size_t);
    __read_chk = hooked_read_chk, read_chk_in_session(buffer: *mut c_void, size: size_t, room: size_t);
    readv = hooked_readv, readv_in_session(parts: *const iovec, count: c_int);
    recv = hooked_recv, recv_in_session(buffer: *mut c_void, size: size_t, flags: c_int);
    __recv_chk = hooked_recv_chk,
        recv_chk_in_session(buffer: *mut c_void, size: size_t, room: size_t, flags: c_int);
    write = hooked_write, write_in_session(data: *const c_void, size: size_t);
    __write = hooked_write_alias, write_alias_in_session(data: *const c_void, size: size_t);
    writev = hooked_writev, writev_in_session(parts: *const iovec, count: c_int);
    send = hooked_send, send_in_session(data: *const c_void, size: size_t, flags: c_int);
    __send = hooked_send_alias, send_alias_in_session(data: *const c_void, size: size_t, flags: c_int);
}

/// The result of a transfer; `errno` becomes that of a failed connect if the relay reset the socket for one.
#[inline]
pub(crate) fn translate_errno(socket: c_int, result: ssize_t) -> ssize_t {
    if result < 0 && Errno::current() == Errno(libc::ECONNRESET) {
        set_connect_error(socket);
    }
    result
}

#[cold]
fn set_connect_error(socket: c_int) {
    sockopt::connect_error(socket)
        .unwrap_or(Errno(libc::ECONNRESET))
        .set();
}
