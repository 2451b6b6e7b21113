//! sendto(2), sendmsg(2) and sendmmsg(2).
//!
//! A datagram to another machine is refused with `ENETUNREACH`, the same as a connect of its socket: a session does
//! not carry them, and they must not leave by the local network. sendmmsg(2) sends what stands before the first such
//! datagram, as it does for every other error. `MSG_FASTOPEN` connects and sends in one call (tcp(7)); here it
//! connects, then sends without the flag.

use crate::address::Destination;
use crate::connect;
use crate::errno::Errno;
use crate::memory;
use crate::real;
use crate::session::Session;
use crate::socket::Kind;
use core::ptr;
use libc::{c_int, c_uint, c_void, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t};

/// The answer to everything that a session does not carry.
pub(crate) const UNCARRIED: Errno = Errno(libc::ENETUNREACH);

/// The kernel sends no more messages than this in one call (`UIO_MAXIOV`), whatever it is told.
const MOST_MESSAGES: c_uint = 1024;

hook! {
    unsafe fn sendto(
        socket: c_int,
        data: *const c_void,
        size: size_t,
        flags: c_int,
        address: *const sockaddr,
        length: socklen_t
    ) -> ssize_t => hooked_sendto {
        sendto_in_session(socket, data, size, flags, address, length)
    }
}

hook! {
    unsafe fn sendmsg(socket: c_int, message: *const msghdr, flags: c_int) -> ssize_t => hooked_sendmsg {
        sendmsg_in_session(socket, message, flags)
    }
}

hook! {
    unsafe fn sendmmsg(
        socket: c_int,
        messages: *mut mmsghdr,
        count: c_uint,
        flags: c_int
    ) -> c_int => hooked_sendmmsg {
        sendmmsg_in_session(socket, messages, count, flags)
    }
}

/// What to do with something that is to be sent to an address.
enum Decision {
    /// The kernel takes it as it is.
    Native,
    /// The socket has to be connected to the address first.
    Connect,
    Refuse,
}

fn decide(socket: c_int, flags: c_int, address: *const sockaddr, length: socklen_t) -> Decision {
    // the usual case: a connected socket
    if address.is_null() {
        return Decision::Native;
    }
    if Destination::read(socket, address, length) == Destination::Native || Session::current().is_none() {
        return Decision::Native;
    }
    match Kind::of(socket) {
        Kind::Tcp if flags & libc::MSG_FASTOPEN != 0 => Decision::Connect,
        // without the flag TCP ignores the address
        Kind::Tcp | Kind::Foreign => Decision::Native,
        Kind::Uncarried => Decision::Refuse,
    }
}

extern "C" fn sendto_in_session(
    socket: c_int,
    data: *const c_void,
    size: size_t,
    flags: c_int,
    address: *const sockaddr,
    length: socklen_t,
) -> ssize_t {
    let Some(native) = real::sendto.get() else {
        return Errno(libc::ENOSYS).fail() as ssize_t;
    };
    match decide(socket, flags, address, length) {
        // SAFETY: these are the program's own arguments, which the kernel checks
        Decision::Native => unsafe { native(socket, data, size, flags, address, length) },
        Decision::Connect => {
            let connected = connect::connect_in_session(socket, address, length);
            if connected != 0 {
                return connected as ssize_t;
            }
            // SAFETY: as above, without an address
            unsafe { native(socket, data, size, flags & !libc::MSG_FASTOPEN, ptr::null(), 0) }
        }
        Decision::Refuse => UNCARRIED.fail() as ssize_t,
    }
}

extern "C" fn sendmsg_in_session(socket: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    let Some(native) = real::sendmsg.get() else {
        return Errno(libc::ENOSYS).fail() as ssize_t;
    };
    let (address, length) = destination(socket, message);
    match decide(socket, flags, address, length) {
        // SAFETY: these are the program's own arguments, which the kernel checks
        Decision::Native => unsafe { native(socket, message, flags) },
        Decision::Connect => {
            let connected = connect::connect_in_session(socket, address, length);
            if connected != 0 {
                return connected as ssize_t;
            }
            // SAFETY: as above; TCP ignores the address without the flag
            unsafe { native(socket, message, flags & !libc::MSG_FASTOPEN) }
        }
        Decision::Refuse => UNCARRIED.fail() as ssize_t,
    }
}

extern "C" fn sendmmsg_in_session(
    socket: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    let Some(native) = real::sendmmsg.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    let count = count.min(MOST_MESSAGES);
    let mut allowed = 0;
    let mut flags = flags;
    while allowed < count {
        let message = messages.wrapping_add(allowed as usize).cast::<msghdr>();
        let (address, length) = destination(socket, message);
        match decide(socket, flags, address, length) {
            Decision::Native => {}
            Decision::Connect => {
                let connected = connect::connect_in_session(socket, address, length);
                if connected != 0 {
                    return connected;
                }
                flags &= !libc::MSG_FASTOPEN;
            }
            Decision::Refuse if allowed == 0 => return UNCARRIED.fail(),
            Decision::Refuse => break,
        }
        allowed = allowed.saturating_add(1);
    }
    // SAFETY: these are the program's own arguments, which the kernel checks
    unsafe { native(socket, messages, allowed, flags) }
}

/// The address in a message header; null where there is none, or where the kernel will find a fault.
fn destination(socket: c_int, message: *const msghdr) -> (*const sockaddr, socklen_t) {
    const FIELDS: usize = core::mem::offset_of!(msghdr, msg_namelen) + size_of::<socklen_t>();
    if !memory::is_readable(socket, message.cast(), FIELDS) {
        return (ptr::null(), 0);
    }
    // SAFETY: the kernel read the fields a moment ago
    let name = unsafe { (&raw const (*message).msg_name).read_unaligned() };
    // SAFETY: as above
    let length = unsafe { (&raw const (*message).msg_namelen).read_unaligned() };
    (name.cast(), length)
}
