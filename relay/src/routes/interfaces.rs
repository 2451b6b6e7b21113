//! Whether an address is currently one of this machine's own.
//!
//! Interfaces change while a session runs (a VPN, another network), so nothing is cached: the kernel is asked each
//! time, which takes some microseconds, in the relay's network namespace. bind(2) and connect(2) are used because
//! netlink(7) waits for the lock that is held while an interface changes.

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;

/// An arbitrary port: nothing is sent.
const PORT: u16 = 9;

/// Whether packets to this address stay on this machine, because one of its interfaces has it. False if the kernel
/// returns an error.
pub(crate) fn is_of_this_machine(address: SocketAddr) -> bool {
    match address {
        SocketAddr::V4(v4) => may_be_source(v4),
        SocketAddr::V6(v6) => is_its_own_source(v6),
    }
}

/// For IPv4: a socket that is bound to the address can connect to it. bind(2) alone also succeeds for a foreign address
/// (ip(7), `ip_nonlocal_bind`), or for the broadcast address of an interface.
fn may_be_source(address: SocketAddrV4) -> bool {
    let is_bound = |socket: &OwnedFd| rustix::net::bind(socket, &SocketAddrV4::new(*address.ip(), 0));
    let target = SocketAddrV4::new(*address.ip(), PORT);
    !address.ip().is_multicast()
        && datagrams(AddressFamily::INET)
            .is_ok_and(|socket| is_bound(&socket).is_ok() && rustix::net::connect(&socket, &target).is_ok())
}

/// For IPv6: the kernel selects an address of its own as the source towards itself (RFC 6724, 5, rule 1).
fn is_its_own_source(address: SocketAddrV6) -> bool {
    let target = SocketAddrV6::new(*address.ip(), PORT, 0, address.scope_id());
    let source = |socket: OwnedFd| {
        rustix::net::connect(&socket, &target)?;
        rustix::net::getsockname(&socket)
    };
    datagrams(AddressFamily::INET6)
        .and_then(source)
        .ok()
        .and_then(|source| SocketAddr::try_from(source).ok())
        .is_some_and(|source| source.ip() == IpAddr::V6(*address.ip()))
}

fn datagrams(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(family, SocketType::DGRAM, flags, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_local(ip: &str) -> bool {
        is_of_this_machine(SocketAddr::new(ip.parse().unwrap(), 0))
    }

    #[test]
    fn address_of_no_interface_is_not_of_this_machine() {
        for ip in [
            "203.0.113.7",
            "224.0.0.1",
            "255.255.255.255",
            "2001:db8::7",
            "ff02::1",
            "fe80::1",
        ] {
            assert!(!is_local(ip), "{ip}");
        }
    }

    #[test]
    fn interface_addresses_are_of_this_machine() {
        for ip in ["127.0.0.1", "::1"] {
            assert!(is_local(ip), "{ip}");
        }
        // the source addresses of this machine towards others, if it has routes
        for (own, other) in [("0.0.0.0:0", "203.0.113.7:9"), ("[::]:0", "[2001:db8::7]:9")] {
            let socket = std::net::UdpSocket::bind(own).unwrap();
            if socket.connect(other).is_ok() {
                let source = socket.local_addr().unwrap();
                assert!(is_of_this_machine(source), "{source}");
            }
        }
    }
}
