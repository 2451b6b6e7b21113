//! bind(2), for the pod's own address alone.
//!
//! A program that asks for its own address is told the pod's (getsockname(2)), and may want to be there: to listen, to send from
//! it, to be known by it. On this machine an address of the session's on loopback stands for it. A socket that its program binds
//! to the pod's address is bound to that one, and `peer` and `receive` show the pod's in its place. Everything else is the
//! kernel's business, untouched.
//!
//! We deviate where the pod's address is one of IPv6: what stands for it is a mapped address, since loopback has but one of
//! IPv6, so the socket is made to take such addresses (`IPV6_V6ONLY`).

use crate::address::{Destination, RawAddress};
use crate::control::{self, SMALL_REPLY};
use crate::errno::{self, Errno};
use crate::real;
use crate::session::Session;
use crate::socket::{self, Kind};
use core::net::SocketAddr;
use kinject_protocol::control::{ReplyRef, Request};
use libc::{c_int, sockaddr, socklen_t};

hook! {
    unsafe fn bind(socket: c_int, address: *const sockaddr, length: socklen_t) -> c_int => hooked {
        bind_in_session(socket, address, length)
    }
}

pub(crate) extern "C" fn bind_in_session(
    socket: c_int,
    address: *const sockaddr,
    length: socklen_t,
) -> c_int {
    let Some(native) = real::bind.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    if let Destination::Remote(wanted) = Destination::read(address, length)
        && let Some(there) = errno::kept(|| place(socket, wanted))
    {
        let (address, length) = there.as_raw();
        // SAFETY: the address is ours and lives until the call is over
        return unsafe { native(socket, address, length) };
    }
    // SAFETY: these are the program's own arguments, which the kernel checks
    unsafe { native(socket, address, length) }
}

/// Where this socket goes that its program binds to the pod's address.
fn place(socket: c_int, wanted: SocketAddr) -> Option<RawAddress> {
    let session = Session::current()?;
    let family = socket::internet_family(socket)?;
    if !matches!(Kind::of(socket), Kind::Tcp | Kind::Udp) || socket::is_of_other_family(socket, wanted) {
        return None;
    }
    let there = stand_in(&session, socket, wanted)?;
    if wanted.ip().to_canonical().is_ipv6() {
        socket::take_mapped_addresses(socket);
    }
    Some(RawAddress::new(there, family))
}

/// What stands for this address on loopback, if it is the pod's own. Without a relay nobody knows, and for a socket of another
/// network namespace, whose loopback is another one, nothing does.
pub(crate) fn stand_in(session: &Session, socket: c_int, address: SocketAddr) -> Option<SocketAddr> {
    let mut buffer = [0; SMALL_REPLY];
    match control::ask_about(session, &Request::Bind { address }, socket, &mut buffer) {
        Ok(ReplyRef::StandIn(there)) if !control::is_elsewhere(session, socket) => Some(there),
        Ok(_) | Err(_) => None,
    }
}

/// For which address of the pod's this one on the socket's loopback stands.
pub(crate) fn pod_address(session: &Session, socket: c_int, address: SocketAddr) -> Option<SocketAddr> {
    let mut buffer = [0; SMALL_REPLY];
    match control::ask_about(session, &Request::PodAddress { address }, socket, &mut buffer) {
        Ok(ReplyRef::Peer(pods)) if !control::is_elsewhere(session, socket) => Some(pods),
        // another session's or network's, or there is no relay to ask: the kernel's answer is the best there is
        Ok(_) | Err(_) => None,
    }
}
