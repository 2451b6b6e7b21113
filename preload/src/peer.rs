//! getpeername(2).
//!
//! The peer of a socket that the relay connected is the relay, on this machine's loopback; the program is told the
//! address that it passed to connect(2). The contract of the man page holds: `length` says how much room there is and
//! afterwards how long the address is, and an address that does not fit is cut.

use crate::address::{self, RawAddress};
use crate::control::{self, SMALL_REPLY};
use crate::errno::{self, Errno};
use crate::session::Session;
use crate::socket::{self, Kind};
use crate::{memory, real, sys};
use core::net::SocketAddr;
use kinject_protocol::control::{ReplyRef, Request, is_data_address};
use libc::{c_int, sockaddr, socklen_t};

hook! {
    unsafe fn getpeername(socket: c_int, place: *mut sockaddr, length: *mut socklen_t) -> c_int => hooked {
        getpeername_in_session(socket, place, length)
    }
}

pub(crate) extern "C" fn getpeername_in_session(
    socket: c_int,
    place: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    let Some(native) = real::getpeername.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    let target = errno::kept(|| target(socket));
    // the kernel overwrites it with the length of the address
    let room = target.and_then(|_| room(socket, length));
    // SAFETY: these are the program's own arguments, which the kernel checks
    let result = unsafe { native(socket, place, length) };
    if let (0, Some(target), Some(room)) = (result, target, room) {
        // SAFETY: the kernel wrote as much as there is room for, and the length, a moment ago
        unsafe { length.write_unaligned(target.write(place, room)) };
    }
    result
}

/// What the program asked for when it connected this socket, if that went through the relay.
fn target(socket: c_int) -> Option<RawAddress> {
    if !is_data_address(peer(socket)?.ip()) || !matches!(Kind::of(socket), Kind::Tcp | Kind::Udp) {
        return None;
    }
    let session = Session::current()?;
    let cookie = socket::cookie(socket)?;
    let mut buffer = [0; SMALL_REPLY];
    match control::ask(&session, &Request::Peer { cookie }, &mut buffer) {
        Ok(ReplyRef::Peer(target)) => Some(RawAddress::new(target, socket::internet_family(socket)?)),
        // not one of the relay's, or there is no relay to ask: the kernel's answer is the best there is
        Ok(_) | Err(_) => None,
    }
}

fn peer(socket: c_int) -> Option<SocketAddr> {
    // SAFETY: zeros are an address
    let mut storage = unsafe { core::mem::zeroed() };
    let length = sys::getpeername(socket, &mut storage).ok()?;
    address::from_storage(&storage, length)
}

fn room(socket: c_int, length: *const socklen_t) -> Option<usize> {
    if !memory::is_readable(socket, length.cast(), size_of::<socklen_t>()) {
        return None;
    }
    // SAFETY: the kernel read it a moment ago
    Some(unsafe { length.read_unaligned() } as usize)
}
