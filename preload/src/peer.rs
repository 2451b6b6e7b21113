//! getpeername(2), getsockname(2), accept(2) and accept4(2).
//!
//! The peer of a socket that the relay connected is the relay, on this machine's loopback; the program is told the
//! address that it passed to connect(2), and as its own that of the agent's pod, which is what the far end sees, with
//! the socket's port on this machine. An address that stands for the pod's own (`bind`) is shown as the pod's, also as that of
//! whom a listener accepts. The contract of the man pages holds: `length` says how much room there is and
//! afterwards how long the address is, and an address that does not fit is cut.
//!
//! The kernel answers first. What it wrote tells at once of nearly every other socket that it is not one of ours.

use crate::address::{self, RawAddress};
use crate::bind;
use crate::control::{self, SMALL_REPLY};
use crate::errno::{self, Errno};
use crate::session::Session;
use crate::socket::{self, Kind};
use crate::{memory, real, sys, tcp_connect};
use core::net::SocketAddr;
use kinject_protocol::control::{ReplyRef, Request, is_data_address, is_stand_in};
use libc::{c_int, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, socklen_t};

hook! {
    unsafe fn getpeername(
        socket: c_int,
        place: *mut sockaddr,
        length: *mut socklen_t
    ) -> c_int => hooked_getpeername {
        getpeername_in_session(socket, place, length)
    }
}

hook! {
    unsafe fn getsockname(
        socket: c_int,
        place: *mut sockaddr,
        length: *mut socklen_t
    ) -> c_int => hooked_getsockname {
        getsockname_in_session(socket, place, length)
    }
}

hook! {
    unsafe fn accept(socket: c_int, place: *mut sockaddr, length: *mut socklen_t) -> c_int => hooked_accept {
        accept_in_session(socket, place, length)
    }
}

hook! {
    unsafe fn accept4(
        socket: c_int,
        place: *mut sockaddr,
        length: *mut socklen_t,
        flags: c_int
    ) -> c_int => hooked_accept4 {
        accept4_in_session(socket, place, length, flags)
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
    let room = room(length);
    // SAFETY: these are the program's own arguments, which the kernel checks
    let result = unsafe { native(socket, place, length) };
    if let (0, Some(room)) = (result, room) {
        // SAFETY: the kernel wrote the length, and as much of the address as there is room for, a moment ago
        unsafe { Written { place, length, room }.replace(socket, sys::getpeername, target) };
    }
    result
}

pub(crate) extern "C" fn getsockname_in_session(
    socket: c_int,
    place: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    let Some(native) = real::getsockname.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    let room = room(length);
    // SAFETY: these are the program's own arguments, which the kernel checks
    let result = unsafe { native(socket, place, length) };
    if let (0, Some(room)) = (result, room) {
        // SAFETY: as for the peer
        unsafe { Written { place, length, room }.replace(socket, sys::getsockname, own) };
    }
    result
}

pub(crate) extern "C" fn accept_in_session(
    socket: c_int,
    place: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    let Some(native) = real::accept.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    accepted(place, length, || {
        // SAFETY: these are the program's own arguments, which the kernel checks
        unsafe { native(socket, place, length) }
    })
}

pub(crate) extern "C" fn accept4_in_session(
    socket: c_int,
    place: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    let Some(native) = real::accept4.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    accepted(place, length, || {
        // SAFETY: these are the program's own arguments, which the kernel checks
        unsafe { native(socket, place, length, flags) }
    })
}

#[inline]
fn accepted(place: *mut sockaddr, length: *mut socklen_t, native: impl FnOnce() -> c_int) -> c_int {
    // the kernel looks at the length only where there is a place
    let room = if place.is_null() { None } else { room(length) };
    let socket = native();
    if socket >= 0
        && let Some(room) = room
    {
        // SAFETY: as for the peer
        unsafe { Written { place, length, room }.replace(socket, sys::getpeername, own_peer) };
    }
    socket
}

/// How much room the program says there is, which the kernel overwrites.
fn room(length: *const socklen_t) -> Option<usize> {
    if !memory::is_readable(length.cast(), size_of::<socklen_t>()) {
        return None;
    }
    // SAFETY: it is readable
    Some(unsafe { length.read_unaligned() } as usize)
}

/// The kernel's answer.
struct Written {
    place: *mut sockaddr,
    length: *mut socklen_t,
    room: usize,
}

impl Written {
    /// Puts the program's view in its place where the session has one.
    ///
    /// # Safety
    ///
    /// The kernel has to have filled `place`, up to `room`, and `length`.
    unsafe fn replace(
        &self,
        socket: c_int,
        ask_kernel: impl Fn(c_int, &mut sockaddr_storage) -> Result<usize, Errno>,
        in_cluster: impl Fn(c_int, SocketAddr) -> Option<RawAddress>,
    ) {
        // SAFETY: the kernel wrote it
        let whole = unsafe { self.length.read_unaligned() } as usize;
        let here = if whole <= self.room {
            // SAFETY: nothing of the address was cut
            unsafe { address::written(self.place, whole) }
        } else {
            complete(socket, ask_kernel)
        };
        if let Some(here) = here
            && let Some(told) = errno::kept(|| in_cluster(socket, here))
        {
            // SAFETY: the kernel wrote to both
            unsafe { self.length.write_unaligned(told.write(self.place, self.room)) };
        }
    }
}

/// The address without a cut.
fn complete(
    socket: c_int,
    ask_kernel: impl Fn(c_int, &mut sockaddr_storage) -> Result<usize, Errno>,
) -> Option<SocketAddr> {
    // SAFETY: zeros are an address
    let mut storage = unsafe { core::mem::zeroed() };
    let length = ask_kernel(socket, &mut storage).ok()?;
    address::from_storage(&storage, length)
}

/// What the program asked for when it connected this socket, if that went through the relay or to the pod itself.
fn target(socket: c_int, peer: SocketAddr) -> Option<RawAddress> {
    if is_stand_in(peer.ip()) {
        return own_peer(socket, peer);
    }
    if !is_data_address(peer.ip()) {
        return None;
    }
    let target = ask_relay(socket, |cookie| Request::Peer { cookie })?;
    Some(RawAddress::new(target, socket::internet_family(socket)?))
}

/// Whether the relay knows of whom this socket is connected to.
pub(crate) fn is_connected_by_relay(socket: c_int) -> bool {
    ask_relay(socket, |cookie| Request::Peer { cookie }).is_some()
}

/// The pod's address, where this one stands for it: that of a program that came by the pod's address.
fn own_peer(socket: c_int, address: SocketAddr) -> Option<RawAddress> {
    if !is_stand_in(address.ip()) {
        return None;
    }
    let pods = bind::pod_address(&Session::current()?, socket, address)?;
    RawAddress::fitting(pods, socket::internet_family(socket)?)
}

/// The pod's address that the peer of this socket sees or will see, if it is connected through the relay or bound to the
/// pod's address.
fn own(socket: c_int, here: SocketAddr) -> Option<RawAddress> {
    let ip = here.ip().to_canonical();
    if ip.is_unspecified() && here.port() != 0 && tcp_connect::has_failed(socket) {
        return ask_for_own(socket, here);
    }
    if !ip.is_loopback() {
        return None;
    }
    if is_stand_in(here.ip()) {
        return own_peer(socket, here);
    }
    let length = match here {
        SocketAddr::V4(_) => size_of::<sockaddr_in>(),
        SocketAddr::V6(_) => size_of::<sockaddr_in6>(),
    };
    // one whose connect failed while nobody waited in it keeps its address until it is told
    match complete(socket, |socket, peer| sys::last_peer(socket, peer, length)) {
        Some(peer) if is_stand_in(peer.ip()) => {
            return own_peer(socket, SocketAddr::new(peer.ip(), here.port()));
        }
        Some(peer) if is_data_address(peer.ip()) => {}
        None if socket::is_on_its_way(socket) => {}
        // a datagram socket that was connected to an address alone, to learn from where it would speak to it
        None if socket::has_destination(socket, here) => {}
        Some(_) | None => return None,
    }
    ask_for_own(socket, here)
}

/// The pod's address, with the socket's port, for one that the relay has connected or failed to connect.
fn ask_for_own(socket: c_int, here: SocketAddr) -> Option<RawAddress> {
    let mut own = ask_relay(socket, |cookie| Request::OwnAddress { cookie })?;
    own.set_port(here.port());
    Some(RawAddress::new(own, socket::internet_family(socket)?))
}

fn ask_relay(socket: c_int, question: impl Fn(u64) -> Request<'static>) -> Option<SocketAddr> {
    if !matches!(Kind::of(socket), Kind::Tcp | Kind::Udp) {
        return None;
    }
    let session = Session::current()?;
    let question = question(socket::cookie(socket)?);
    let mut buffer = [0; SMALL_REPLY];
    match control::ask_about(&session, &question, socket, &mut buffer) {
        Ok(ReplyRef::Peer(address)) => Some(address),
        // not one of the relay's, or there is no relay to ask: the kernel's answer is the best there is
        Ok(_) | Err(_) => None,
    }
}
