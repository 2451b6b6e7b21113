//! Where a socket's datagrams go, from memory or from the relay.

use super::cache::{self, CachedRoute, Origin};
use crate::bind;
use crate::control::{self, AskError, SMALL_REPLY};
use crate::errno::Errno;
use crate::failure;
use crate::session::Session;
use crate::socket::{self, KernelSocket, Kind, SocketFacts};
use core::net::{IpAddr, SocketAddr};
use kinject_protocol::ConnectFailure;
use kinject_protocol::control::{ReplyRef, Request, is_stand_in};
use libc::c_int;

/// Where datagrams to one target go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To the target itself, by the kernel.
    Native,
    /// To this address, which has the socket's family.
    Flow(SocketAddr),
    /// The same, and the address stands for the pod's own.
    StandIn(SocketAddr),
    /// The socket is a TCP socket.
    Tcp,
    Failed(Errno),
}

/// The route of what `socket` sends to `target`.
pub(crate) fn route(session: &Session, socket: c_int, target: SocketAddr) -> Route {
    let Some(cookie) = socket::cookie(socket) else {
        return Route::Native;
    };
    if let Some(route) = cache::route(cookie, target).map(remembered_route) {
        return route;
    }
    if let Some(route) = route_without_relay(&KernelSocket::new(session, socket), target) {
        return route;
    }
    let request = Request::Flow {
        target,
        connect: false,
    };
    let mut buffer = [0; SMALL_REPLY];
    let route = route_of_reply(control::ask_passing(session, &request, socket, &mut buffer));
    match route {
        Route::Flow(address) | Route::StandIn(address) => cache::remember_flow(cookie, target, address),
        Route::Native => cache::remember_local(cookie, target),
        Route::Tcp | Route::Failed(_) => {}
    }
    route
}

/// The route that the relay gave before.
#[inline]
fn remembered_route(route: CachedRoute) -> Route {
    match route {
        CachedRoute::Flow(address) if is_stand_in(address.ip()) => Route::StandIn(address),
        CachedRoute::Flow(address) => Route::Flow(address),
        CachedRoute::Local => Route::Native,
    }
}

/// The route that follows from the socket; none if the relay has to be asked.
fn route_without_relay(socket: &impl SocketFacts, target: SocketAddr) -> Option<Route> {
    match socket.kind() {
        Kind::Tcp => Some(Route::Tcp),
        Kind::Foreign => Some(Route::Native),
        Kind::Uncarried if socket.is_in_other_network() => Some(Route::Native),
        Kind::Uncarried => Some(Route::Failed(super::UNCARRIED)),
        Kind::Udp if !can_send_to(socket, target) => Some(Route::Native),
        Kind::Udp if target.port() == 0 => Some(Route::Failed(Errno(libc::EINVAL))),
        Kind::Udp => None,
    }
}

/// The route that the relay's reply gives.
fn route_of_reply(reply: Result<ReplyRef<'_>, AskError>) -> Route {
    match reply {
        Ok(ReplyRef::Flow(address)) => Route::Flow(address),
        Ok(ReplyRef::StandIn(address)) => Route::StandIn(address),
        Ok(ReplyRef::Local) | Err(AskError::OtherNetwork) => Route::Native,
        Ok(ReplyRef::Failed(failed)) => Route::Failed(errno(failed)),
        // a reply to another request
        Ok(_) => Route::Failed(super::UNCARRIED),
        Err(error) => Route::Failed(failure::ask_errno(error)),
    }
}

/// connect(2) of a UDP socket.
pub(crate) fn connect(session: &Session, socket: c_int, target: SocketAddr) -> Route {
    if !can_send_to(&KernelSocket::new(session, socket), target) {
        return Route::Native;
    }
    let request = Request::Flow {
        target,
        connect: true,
    };
    let mut buffer = [0; SMALL_REPLY];
    route_of_connect(
        control::ask_passing(session, &request, socket, &mut buffer),
        target,
    )
}

/// The route that the relay's reply to a connect gives.
fn route_of_connect(reply: Result<ReplyRef<'_>, AskError>, target: SocketAddr) -> Route {
    match reply {
        Ok(ReplyRef::Connected) => Route::Flow(target),
        // a reply to another request
        Ok(ReplyRef::Flow(_)) => Route::Failed(super::UNCARRIED),
        reply => route_of_reply(reply),
    }
}

/// The target that sent what came from `address`, if that is one of the relay's addresses.
pub(crate) fn source(session: &Session, socket: c_int, address: SocketAddr) -> Option<SocketAddr> {
    let cookie = socket::cookie(socket)?;
    match cache::origin(cookie, address) {
        Some(Origin::Target(target)) => return Some(target),
        Some(Origin::NotSession) => return None,
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
    let reply = control::ask_about(session, &Request::Source { cookie, address }, socket, &mut buffer);
    match origin_of_reply(reply) {
        Some(Origin::Target(target)) => {
            cache::remember_flow(cookie, target, address);
            Some(target)
        }
        Some(Origin::NotSession) => {
            cache::remember_not_session(cookie, address);
            None
        }
        // the kernel's answer stays
        None => None,
    }
}

/// What the relay says of a source address; none if there is no relay to ask.
fn origin_of_reply(reply: Result<ReplyRef<'_>, AskError>) -> Option<Origin> {
    match reply {
        Ok(ReplyRef::Peer(target)) => Some(Origin::Target(target)),
        Ok(ReplyRef::Unknown) | Err(AskError::OtherNetwork) => Some(Origin::NotSession),
        Ok(_) | Err(_) => None,
    }
}

/// The loopback address that stands for this address, in the socket's family, if it is the pod's own.
pub(super) fn stand_in(session: &Session, socket: c_int, address: IpAddr) -> Option<SocketAddr> {
    let cookie = socket::cookie(socket)?;
    let pods = SocketAddr::new(address, 0);
    if let Some(CachedRoute::Flow(known)) = cache::route(cookie, pods) {
        return Some(known);
    }
    let stand_in = bind::stand_in(session, socket, pods)?;
    cache::remember_flow(cookie, pods, stand_in);
    Some(stand_in)
}

/// Forgets a socket's routes, as its association is about to be dissolved (connect(2), `AF_UNSPEC`) and its port with
/// it.
pub(crate) fn forget(socket: c_int) {
    if let Some(cookie) = socket::cookie(socket) {
        cache::forget(cookie);
    }
}

/// Does the kernel send from this socket to this address? If not, it says so without asking the network.
fn can_send_to(socket: &impl SocketFacts, target: SocketAddr) -> bool {
    match (socket.internet_family(), target.ip()) {
        (Some(libc::AF_INET), ip) => ip.is_ipv4(),
        // an IPv6 datagram socket takes IPv4 addresses in a `sockaddr_in`, too, unlike one of TCP
        (Some(libc::AF_INET6), IpAddr::V4(_)) => !socket.is_v6_only(),
        (Some(libc::AF_INET6), IpAddr::V6(v6)) => v6.to_ipv4_mapped().is_none() || !socket.is_v6_only(),
        _ => false,
    }
}

/// The `errno` of a UDP socket's calls.
fn errno(failed: ConnectFailure) -> Errno {
    match failed {
        ConnectFailure::Exhausted => Errno(libc::ENOBUFS),
        other => failure::connect_errno(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::FakeSocket;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn failed(error: i32) -> Route {
        Route::Failed(Errno(error))
    }

    #[test]
    fn remembered_route_is_a_flow_a_stand_in_or_native() {
        for (cached, expected) in [
            (
                CachedRoute::Flow(address("127.107.0.1:4000")),
                Route::Flow(address("127.107.0.1:4000")),
            ),
            (
                CachedRoute::Flow(address("127.106.0.1:4000")),
                Route::StandIn(address("127.106.0.1:4000")),
            ),
            (CachedRoute::Local, Route::Native),
        ] {
            assert_eq!(remembered_route(cached), expected);
        }
    }

    #[test]
    fn route_of_socket_that_is_not_udp_needs_no_relay() {
        for (kind, is_in_other_network, expected) in [
            (Kind::Tcp, false, Route::Tcp),
            (Kind::Foreign, false, Route::Native),
            (Kind::Uncarried, false, failed(libc::ENETUNREACH)),
            (Kind::Uncarried, true, Route::Native),
        ] {
            let mut socket = FakeSocket::new(kind);
            socket.is_in_other_network = is_in_other_network;
            let route = route_without_relay(&socket, address("10.96.0.10:53"));
            assert_eq!(route, Some(expected), "{kind:?} {is_in_other_network}");
        }
    }

    #[test]
    fn route_of_udp_socket_is_asked_for_unless_the_kernel_refuses_the_target() {
        let (v4, v6) = (Some(libc::AF_INET), Some(libc::AF_INET6));
        for (family, is_v6_only, target, expected) in [
            (v4, false, "10.96.0.10:53", None),
            (v4, false, "10.96.0.10:0", Some(failed(libc::EINVAL))),
            (v4, false, "[fd00::1]:53", Some(Route::Native)),
            (v4, false, "[::ffff:10.96.0.10]:53", Some(Route::Native)),
            (v6, false, "10.96.0.10:53", None),
            (v6, true, "10.96.0.10:53", Some(Route::Native)),
            (v6, false, "[::ffff:10.96.0.10]:53", None),
            (v6, true, "[::ffff:10.96.0.10]:53", Some(Route::Native)),
            (v6, true, "[fd00::1]:53", None),
        ] {
            let mut socket = FakeSocket::new(Kind::Udp);
            (socket.family, socket.is_v6_only) = (family, is_v6_only);
            let route = route_without_relay(&socket, address(target));
            assert_eq!(route, expected, "{family:?} {is_v6_only} {target}");
        }
    }

    #[test]
    fn reply_of_relay_gives_route() {
        let flow = address("127.107.0.1:4000");
        for (reply, expected) in [
            (Ok(ReplyRef::Flow(flow)), Route::Flow(flow)),
            (Ok(ReplyRef::StandIn(flow)), Route::StandIn(flow)),
            (Ok(ReplyRef::Local), Route::Native),
            (Err(AskError::OtherNetwork), Route::Native),
            (
                Ok(ReplyRef::Failed(ConnectFailure::Exhausted)),
                failed(libc::ENOBUFS),
            ),
            (
                Ok(ReplyRef::Failed(ConnectFailure::PermissionDenied)),
                failed(libc::EACCES),
            ),
            (Ok(ReplyRef::Connected), failed(libc::ENETUNREACH)),
            (Err(AskError::NoRelay), failed(libc::ENETUNREACH)),
            (Err(AskError::NoSocket(Errno(libc::EMFILE))), failed(libc::EMFILE)),
        ] {
            assert_eq!(route_of_reply(reply), expected, "{reply:?}");
        }
    }

    #[test]
    fn reply_to_connect_gives_route_and_a_flow_is_no_such_reply() {
        let (target, flow) = (address("10.96.0.10:53"), address("127.107.0.1:4000"));
        for (reply, expected) in [
            (Ok(ReplyRef::Connected), Route::Flow(target)),
            (Ok(ReplyRef::StandIn(flow)), Route::StandIn(flow)),
            (Ok(ReplyRef::Local), Route::Native),
            (Ok(ReplyRef::Flow(flow)), failed(libc::ENETUNREACH)),
            (
                Ok(ReplyRef::Failed(ConnectFailure::Refused)),
                failed(libc::ECONNREFUSED),
            ),
        ] {
            assert_eq!(route_of_connect(reply, target), expected, "{reply:?}");
        }
    }

    #[test]
    fn reply_of_relay_gives_origin_and_without_relay_there_is_none() {
        let target = address("10.96.0.10:53");
        for (reply, expected) in [
            (Ok(ReplyRef::Peer(target)), Some(Origin::Target(target))),
            (Ok(ReplyRef::Unknown), Some(Origin::NotSession)),
            (Err(AskError::OtherNetwork), Some(Origin::NotSession)),
            (Ok(ReplyRef::Connected), None),
            (Err(AskError::NoRelay), None),
        ] {
            assert_eq!(origin_of_reply(reply), expected, "{reply:?}");
        }
    }
}
