//! Which way a socket's datagrams go, from memory or from the relay.

use super::cache::{self, CachedRoute, Origin};
use crate::bind;
use crate::control::{self, AskError, SMALL_REPLY};
use crate::errno::Errno;
use crate::failure;
use crate::session::Session;
use crate::socket::{self, Kind};
use core::net::{IpAddr, SocketAddr};
use kinject_protocol::ConnectFailure;
use kinject_protocol::control::{ReplyRef, Request, is_stand_in};
use libc::c_int;

/// What becomes of datagrams to one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The kernel takes them as they are.
    Native,
    /// They go to this address, which suits the socket.
    Flow(SocketAddr),
    /// The same, and the address stands for the pod's own.
    StandIn(SocketAddr),
    /// It is a TCP socket.
    Tcp,
    Failed(Errno),
}

/// The route of what `socket` sends to `target`.
pub(crate) fn route(session: &Session, socket: c_int, target: SocketAddr) -> Route {
    let Some(cookie) = socket::cookie(socket) else {
        return Route::Native;
    };
    match cache::route(cookie, target) {
        Some(CachedRoute::Flow(address)) if is_stand_in(address.ip()) => return Route::StandIn(address),
        Some(CachedRoute::Flow(address)) => return Route::Flow(address),
        Some(CachedRoute::Local) => return Route::Native,
        None => {}
    }
    match Kind::of(socket) {
        Kind::Tcp => return Route::Tcp,
        Kind::Foreign => return Route::Native,
        Kind::Uncarried if control::is_elsewhere(session, socket) => return Route::Native,
        Kind::Uncarried => return Route::Failed(super::UNCARRIED),
        Kind::Udp if !reaches(socket, target) => return Route::Native,
        Kind::Udp if target.port() == 0 => return Route::Failed(Errno(libc::EINVAL)),
        Kind::Udp => {}
    }
    let request = Request::Flow {
        target,
        connect: false,
    };
    let mut buffer = [0; SMALL_REPLY];
    match control::ask_passing(session, &request, socket, &mut buffer) {
        Ok(ReplyRef::Flow(address)) => {
            cache::remember_flow(cookie, target, address);
            Route::Flow(address)
        }
        Ok(ReplyRef::StandIn(address)) => {
            cache::remember_flow(cookie, target, address);
            Route::StandIn(address)
        }
        Ok(ReplyRef::Local) | Err(AskError::Elsewhere) => {
            cache::remember_local(cookie, target);
            Route::Native
        }
        Ok(ReplyRef::Failed(failed)) => Route::Failed(errno(failed)),
        // not an answer to what was asked
        Ok(_) => Route::Failed(super::UNCARRIED),
        Err(trouble) => Route::Failed(failure::connect_trouble(trouble)),
    }
}

/// connect(2) of a UDP socket.
pub(crate) fn connect(session: &Session, socket: c_int, target: SocketAddr) -> Route {
    if !reaches(socket, target) {
        return Route::Native;
    }
    let request = Request::Flow {
        target,
        connect: true,
    };
    let mut buffer = [0; SMALL_REPLY];
    match control::ask_passing(session, &request, socket, &mut buffer) {
        Ok(ReplyRef::Connected) => Route::Flow(target),
        Ok(ReplyRef::StandIn(address)) => Route::StandIn(address),
        Ok(ReplyRef::Local) | Err(AskError::Elsewhere) => Route::Native,
        Ok(ReplyRef::Failed(failed)) => Route::Failed(errno(failed)),
        // not an answer to what was asked
        Ok(_) => Route::Failed(super::UNCARRIED),
        Err(trouble) => Route::Failed(failure::connect_trouble(trouble)),
    }
}

/// Who sent what came from `address`, if that is one of the relay's that stand for a target.
pub(crate) fn source(session: &Session, socket: c_int, address: SocketAddr) -> Option<SocketAddr> {
    let cookie = socket::cookie(socket)?;
    match cache::origin(cookie, address) {
        Some(Origin::Target(target)) => return Some(target),
        Some(Origin::Stranger) => return None,
        None => {}
    }
    if Kind::of(socket) != Kind::Udp {
        return None;
    }
    if is_stand_in(address.ip()) {
        let pods = bind::pod_address(session, socket, address)?;
        cache::remember_flow(cookie, pods, address);
        return Some(pods);
    }
    let mut buffer = [0; SMALL_REPLY];
    match control::ask_about(session, &Request::Source { cookie, address }, socket, &mut buffer) {
        Ok(ReplyRef::Peer(target)) => {
            cache::remember_flow(cookie, target, address);
            Some(target)
        }
        Ok(ReplyRef::Unknown) | Err(AskError::Elsewhere) => {
            cache::remember_stranger(cookie, address);
            None
        }
        // there is no relay to ask: the kernel's answer is the best there is
        Ok(_) | Err(_) => None,
    }
}

/// What stands for this address on loopback, in the form that suits the socket, if it is the pod's own.
pub(super) fn stand_in(session: &Session, socket: c_int, address: IpAddr) -> Option<SocketAddr> {
    let cookie = socket::cookie(socket)?;
    let pods = SocketAddr::new(address, 0);
    if let Some(CachedRoute::Flow(known)) = cache::route(cookie, pods) {
        return Some(known);
    }
    let there = bind::stand_in(session, socket, pods)?;
    cache::remember_flow(cookie, pods, there);
    Some(there)
}

/// The socket's association is about to be dissolved, and with it perhaps its port.
pub(super) fn forget(socket: c_int) {
    if let Some(cookie) = socket::cookie(socket) {
        cache::forget(cookie);
    }
}

/// Would the kernel send to this address from this socket? It says at once where it would not.
fn reaches(socket: c_int, target: SocketAddr) -> bool {
    match (socket::internet_family(socket), target.ip()) {
        (Some(libc::AF_INET), ip) => ip.is_ipv4(),
        // an IPv4 address need not be mapped here (unlike in TCP)
        (Some(libc::AF_INET6), IpAddr::V4(_)) => !is_only_v6(socket),
        (Some(libc::AF_INET6), IpAddr::V6(v6)) => v6.to_ipv4_mapped().is_none() || !is_only_v6(socket),
        _ => false,
    }
}

fn is_only_v6(socket: c_int) -> bool {
    crate::sys::socket_option::<c_int>(socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) == Ok(1)
}

/// The `errno` of a UDP socket's calls.
fn errno(failed: ConnectFailure) -> Errno {
    match failed {
        ConnectFailure::Exhausted => Errno(libc::ENOBUFS),
        other => failure::connect_errno(other),
    }
}
