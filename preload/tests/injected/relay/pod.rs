//! The pod's own addresses, and the loopback addresses that stand for them.

use rustix::fd::OwnedFd;
use rustix::net::{self, AddressFamily, sockopt};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The pod's own addresses, each with its stand-in.
const POD: [(IpAddr, Ipv4Addr); 2] = [
    (
        IpAddr::V4(Ipv4Addr::new(10, 244, 0, 5)),
        Ipv4Addr::new(127, 106, 0, 1),
    ),
    (
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 5)),
        Ipv4Addr::new(127, 105, 0, 1),
    ),
];

/// The stand-in of an address of the pod's own.
pub(super) fn stand_in(address: SocketAddr) -> Option<SocketAddr> {
    let known = POD
        .iter()
        .find(|(pods, _)| *pods == address.ip().to_canonical())?;
    Some(SocketAddr::new(known.1.into(), address.port()))
}

/// The pod's address of a stand-in.
pub(super) fn of_stand_in(address: SocketAddr) -> Option<SocketAddr> {
    let known = POD
        .iter()
        .find(|(_, stand_in)| IpAddr::V4(*stand_in) == address.ip().to_canonical())?;
    Some(SocketAddr::new(known.0, address.port()))
}

/// The unspecified address of the socket's family.
pub(super) fn unspecified_address(socket: &OwnedFd) -> IpAddr {
    match sockopt::socket_domain(socket) {
        Ok(AddressFamily::INET6) => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// An IPv4 address in the socket's family.
pub(super) fn in_family_of(address: SocketAddr, socket: &OwnedFd) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) if sockopt::socket_domain(socket) == Ok(AddressFamily::INET6) => {
            SocketAddr::new(v4.to_ipv6_mapped().into(), address.port())
        }
        _ => address,
    }
}

/// Binds a socket if it has no port.
pub(super) fn bind_at(socket: &OwnedFd, ip: IpAddr) {
    let own: SocketAddr = net::getsockname(socket)
        .expect("a name")
        .try_into()
        .expect("an internet address");
    if own.port() == 0 {
        if sockopt::socket_domain(socket) == Ok(AddressFamily::INET6) {
            sockopt::set_ipv6_v6only(socket, false).expect("no address yet");
        }
        net::bind(socket, &in_family_of(SocketAddr::new(ip, 0), socket)).expect("bind");
    }
}

/// The pod's address of that family.
pub(super) fn own_address(target: SocketAddr) -> IpAddr {
    let [(v4, _), (v6, _)] = POD;
    match target.ip().to_canonical() {
        IpAddr::V4(_) => v4,
        IpAddr::V6(_) => v6,
    }
}
