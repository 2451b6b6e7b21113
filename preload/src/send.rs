//! sendto(2), sendmsg(2) and sendmmsg(2), the last of them in `batch`.
//!
//! The hooks redirect a UDP socket's datagram for another machine ([`crate::datagram`]). Flags, parts and control
//! data stay the program's, and limits and errors the kernel's.
//!
//! We deviate from the man pages where the session cannot carry what the program asks for: `ENETUNREACH`, never a
//! datagram on the local network. That holds for multicast and broadcast, for protocols other than UDP, and for
//! datagrams that the program binds to an interface. sendmmsg(2) sends the messages before the first such datagram,
//! as it does for every other error.
//!
//! `MSG_FASTOPEN` connects and sends in one call (tcp(7)); the hooks connect, then send without the flag.

mod batch;

pub(crate) use batch::sendmmsg_in_session;

use crate::address::Destination;
use crate::connect;
use crate::datagram::{self, Redirection, Route};
use crate::errno::Errno;
use crate::memory;
use crate::real;
use crate::session::Session;
use crate::socket;
use crate::transfer;
use core::net::SocketAddr;
use core::ptr;
use kinject_protocol::control::is_of_every_machine;
use libc::{c_int, c_void, iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};

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

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// As it is, by the kernel.
    Native,
    /// After the socket was connected to the message's address.
    Connect,
    /// To this address.
    Redirect(Redirection),
    Fail(Errno),
}

/// Asks for the route of data that is sent to an address, and decides by it.
fn decision_for_address(
    socket: c_int,
    flags: c_int,
    address: *const sockaddr,
    length: socklen_t,
) -> Decision {
    // the usual case: a connected socket
    if address.is_null() {
        return Decision::Native;
    }
    let is_v4 = || socket::internet_family(socket) == Some(libc::AF_INET);
    let Some(target) = remote_target(Destination::read(address, length), is_v4) else {
        return Decision::Native;
    };
    let Some(session) = Session::current() else {
        return Decision::Native;
    };
    decide_by_route(datagram::route(&session, socket, target), flags)
}

/// The address of another machine, if the destination is one; `is_v4` says whether the socket is an IPv4 socket.
fn remote_target(destination: Destination, is_v4: impl FnOnce() -> bool) -> Option<SocketAddr> {
    match destination {
        Destination::Remote(target) => Some(target),
        // an IPv4 socket sends to the address in spite of the family
        Destination::Unspecified(target) => (!is_of_every_machine(target.ip()) && is_v4()).then_some(target),
        Destination::Native | Destination::Loopback => None,
    }
}

/// Decides by the route of the socket's datagrams.
fn decide_by_route(route: Route, flags: c_int) -> Decision {
    match route {
        Route::Flow(address) | Route::StandIn(address) => Decision::Redirect(Redirection::to(address)),
        Route::Tcp if flags & libc::MSG_FASTOPEN != 0 => Decision::Connect,
        // without the flag TCP ignores the address
        Route::Native | Route::Tcp => Decision::Native,
        Route::Failed(error) => Decision::Fail(error),
    }
}

/// The same for a message; that of a connected socket may have control data for the socket's peer.
fn decision_for_message(socket: c_int, flags: c_int, message: *const msghdr) -> Decision {
    let (address, length) = destination(message);
    if address.is_null()
        && has_control_data(message)
        && let Some(redirection) = Redirection::of_connected(socket, message)
    {
        return Decision::Redirect(redirection);
    }
    decision_for_address(socket, flags, address, length)
}

/// Connects the socket of a `MSG_FASTOPEN` call.
fn connect_first(socket: c_int, address: *const sockaddr, length: socklen_t) -> Result<(), Errno> {
    match connect::connect_in_session(socket, address, length) {
        0 => Ok(()),
        _ => Err(Errno::current()),
    }
}

pub(crate) extern "C" fn sendto_in_session(
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
    match decision_for_address(socket, flags, address, length) {
        // SAFETY: these are the program's own arguments, which the kernel checks
        Decision::Native => transfer::translate_errno(socket, unsafe {
            native(socket, data, size, flags, address, length)
        }),
        Decision::Connect => {
            if let Err(error) = connect_first(socket, address, length) {
                return error.fail() as ssize_t;
            }
            // SAFETY: as above, without an address
            unsafe { native(socket, data, size, flags & !libc::MSG_FASTOPEN, ptr::null(), 0) }
        }
        Decision::Redirect(redirection) if redirection.needs_source(socket) => {
            let mut part = iovec {
                iov_base: data.cast_mut(),
                iov_len: size,
            };
            // SAFETY: a message header of zeros is an empty one, also in the fields that are padding
            let mut message: msghdr = unsafe { core::mem::zeroed() };
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            send_redirected(socket, &raw const message, redirection, flags)
        }
        Decision::Redirect(redirection) => {
            let redirected = redirection.address();
            let (address, length) = redirected.as_raw();
            // SAFETY: as above, with an address of our own that lives until the call is over
            unsafe { native(socket, data, size, flags, address, length) }
        }
        Decision::Fail(error) => error.fail() as ssize_t,
    }
}

pub(crate) extern "C" fn sendmsg_in_session(socket: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    let Some(native) = real::sendmsg.get() else {
        return Errno(libc::ENOSYS).fail() as ssize_t;
    };
    match decision_for_message(socket, flags, message) {
        // SAFETY: these are the program's own arguments, which the kernel checks
        Decision::Native => transfer::translate_errno(socket, unsafe { native(socket, message, flags) }),
        Decision::Connect => {
            let (address, length) = destination(message);
            if let Err(error) = connect_first(socket, address, length) {
                return error.fail() as ssize_t;
            }
            // SAFETY: as above; TCP ignores the address without the flag
            unsafe { native(socket, message, flags & !libc::MSG_FASTOPEN) }
        }
        Decision::Redirect(redirection) => send_redirected(socket, message, redirection, flags),
        Decision::Fail(error) => error.fail() as ssize_t,
    }
}

fn send_redirected(socket: c_int, message: *const msghdr, redirection: Redirection, flags: c_int) -> ssize_t {
    let Some(native) = real::sendmsg.get() else {
        return Errno(libc::ENOSYS).fail() as ssize_t;
    };
    redirection.send(socket, message, |header| {
        // SAFETY: the header is ours; it points to the program's memory, which the kernel checks, and to ours, which
        // lives until the call is over
        unsafe { native(socket, header, flags) }
    })
}

/// Does a message have control data? One that cannot be read has none.
fn has_control_data(message: *const msghdr) -> bool {
    const FIELDS: usize = core::mem::offset_of!(msghdr, msg_controllen) + size_of::<size_t>();
    if !memory::is_readable(message.cast(), FIELDS) {
        return false;
    }
    // SAFETY: the header is readable
    unsafe { (&raw const (*message).msg_controllen).read_unaligned() != 0 }
}

/// The address in a message header; null if there is none, or if the header cannot be read.
pub(crate) fn destination(message: *const msghdr) -> (*const sockaddr, socklen_t) {
    const FIELDS: usize = core::mem::offset_of!(msghdr, msg_namelen) + size_of::<socklen_t>();
    if !memory::is_readable(message.cast(), FIELDS) {
        return (ptr::null(), 0);
    }
    // SAFETY: the header is readable
    let name = unsafe { (&raw const (*message).msg_name).read_unaligned() };
    // SAFETY: as above
    let length = unsafe { (&raw const (*message).msg_namelen).read_unaligned() };
    (name.cast(), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn remote_address_is_a_target_and_loopback_is_none() {
        let target = address("10.96.0.10:53");
        for (destination, is_v4, expected) in [
            (Destination::Remote(target), false, Some(target)),
            (Destination::Unspecified(target), true, Some(target)),
            (Destination::Unspecified(target), false, None),
            (Destination::Unspecified(address("0.0.0.0:0")), true, None),
            (Destination::Unspecified(address("127.0.0.1:53")), true, None),
            (Destination::Loopback, true, None),
            (Destination::Native, true, None),
        ] {
            let found = remote_target(destination, || is_v4);
            assert_eq!(found, expected, "{destination:?} {is_v4}");
        }
    }

    #[test]
    fn route_decides_how_a_message_is_sent() {
        let flow = address("127.107.0.1:4000");
        for (route, flags, expected) in [
            (Route::Flow(flow), 0, Decision::Redirect(Redirection::to(flow))),
            (Route::StandIn(flow), 0, Decision::Redirect(Redirection::to(flow))),
            (Route::Native, libc::MSG_FASTOPEN, Decision::Native),
            (Route::Tcp, 0, Decision::Native),
            (Route::Tcp, libc::MSG_FASTOPEN, Decision::Connect),
            (
                Route::Failed(Errno(libc::ENETUNREACH)),
                0,
                Decision::Fail(Errno(libc::ENETUNREACH)),
            ),
        ] {
            assert_eq!(decide_by_route(route, flags), expected, "{route:?} {flags}");
        }
    }
}
