//! bind(2), for the pod's own address alone.
//!
//! getsockname(2) shows a program the pod's address as its own, and the program may want to bind it: to listen there,
//! or to send from it. On this machine one of the session's loopback addresses stands for it. A socket that its
//! program binds to the pod's address is bound to that one, and `peer` and `receive` show the pod's address instead.
//! A Unix socket's path leads where the same path of a file does ([`crate::paths`]). All other calls are the kernel's,
//! unchanged.
//!
//! We deviate where the pod's address is an IPv6 address: an IPv4-mapped address stands for it, since loopback has only
//! one IPv6 address, so the hook lets the socket use mapped addresses (`IPV6_V6ONLY`).

use crate::address::{Destination, RawAddress};
use crate::control::{self, SMALL_REPLY};
use crate::errno::{self, Errno};
use crate::paths::unix_address;
use crate::real;
use crate::session::Session;
use crate::socket::{self, KernelSocket, Kind, SocketFacts};
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
    match unix_address(address, length, true) {
        Ok(None) => {}
        Ok(Some(other)) => {
            // SAFETY: the address is ours and lives until the call is over
            return unsafe {
                native(
                    socket,
                    (&raw const other).cast(),
                    size_of_val(&other) as socklen_t,
                )
            };
        }
        Err(error) => return error.fail(),
    }
    if let Destination::Remote(requested) = Destination::read(address, length)
        && let Some(stand_in) = errno::preserve(|| stand_in_to_bind(socket, requested))
    {
        let (address, length) = stand_in.as_raw();
        // SAFETY: the address is ours and lives until the call is over
        return unsafe { native(socket, address, length) };
    }
    // SAFETY: these are the program's own arguments, which the kernel checks
    unsafe { native(socket, address, length) }
}

/// The address that the socket is bound to if the program asks for the pod's.
fn stand_in_to_bind(socket: c_int, requested: SocketAddr) -> Option<RawAddress> {
    let session = Session::current()?;
    match decide(requested, &KernelSocket::new(&session, socket)) {
        Decision::Native => None,
        Decision::AskRelay { family, needs_mapped } => {
            let address = stand_in(&session, socket, requested)?;
            if needs_mapped {
                socket::allow_mapped_addresses(socket);
            }
            Some(RawAddress::new(address, family))
        }
    }
}

/// What bind(2) does with an address that is neither loopback nor unspecified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// The kernel binds the socket, or refuses to.
    Native,
    /// The relay is asked whether the address is the pod's.
    AskRelay {
        /// The socket's family.
        family: c_int,
        /// Whether the address that stands for the pod's is an IPv4-mapped one.
        needs_mapped: bool,
    },
}

fn decide(requested: SocketAddr, socket: &impl SocketFacts) -> Decision {
    let Some(family) = socket.internet_family() else {
        return Decision::Native;
    };
    if !matches!(socket.kind(), Kind::Tcp | Kind::Udp)
        || socket::is_family_mismatch(Some(family), requested.ip(), || socket.is_v6_only())
    {
        return Decision::Native;
    }
    Decision::AskRelay {
        family,
        needs_mapped: requested.ip().to_canonical().is_ipv6(),
    }
}

/// The loopback address that stands for this address, if it is the pod's own. There is none without a relay, nor for a
/// socket of another network namespace, which has another loopback.
pub(crate) fn stand_in(session: &Session, socket: c_int, address: SocketAddr) -> Option<SocketAddr> {
    let mut buffer = [0; SMALL_REPLY];
    match control::ask_about(session, &Request::Bind { address }, socket, &mut buffer) {
        Ok(ReplyRef::StandIn(stand_in)) if !control::is_in_other_network(session, socket) => Some(stand_in),
        Ok(_) | Err(_) => None,
    }
}

/// The pod's address for which this loopback address stands.
pub(crate) fn pod_address(session: &Session, socket: c_int, address: SocketAddr) -> Option<SocketAddr> {
    let mut buffer = [0; SMALL_REPLY];
    match control::ask_about(session, &Request::PodAddress { address }, socket, &mut buffer) {
        Ok(ReplyRef::Peer(pods)) if !control::is_in_other_network(session, socket) => Some(pods),
        // it belongs to another session or network namespace, or there is no relay: the kernel's answer stays
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::FakeSocket;

    #[test]
    fn tcp_or_udp_socket_asks_relay_for_address_of_its_family() {
        for kind in [Kind::Tcp, Kind::Udp] {
            let mut socket = FakeSocket::new(kind);
            let v4 = "10.244.0.5:80".parse().unwrap();
            let expected = Decision::AskRelay {
                family: libc::AF_INET,
                needs_mapped: false,
            };
            assert_eq!(decide(v4, &socket), expected);
            socket.family = Some(libc::AF_INET6);
            for (address, needs_mapped) in [("[fd00::5]:80", true), ("[::ffff:10.244.0.5]:80", false)] {
                let expected = Decision::AskRelay {
                    family: libc::AF_INET6,
                    needs_mapped,
                };
                assert_eq!(decide(address.parse().unwrap(), &socket), expected, "{address}");
            }
        }
    }

    #[test]
    fn address_of_other_family_is_native() {
        let mut socket = FakeSocket::new(Kind::Tcp);
        assert_eq!(decide("[fd00::5]:80".parse().unwrap(), &socket), Decision::Native);
        socket.family = Some(libc::AF_INET6);
        socket.is_v6_only = true;
        for address in ["10.244.0.5:80", "[::ffff:10.244.0.5]:80"] {
            assert_eq!(decide(address.parse().unwrap(), &socket), Decision::Native);
        }
    }

    #[test]
    fn socket_of_other_protocol_is_native() {
        let address = "10.244.0.5:80".parse().unwrap();
        for kind in [Kind::Uncarried, Kind::Foreign] {
            assert_eq!(decide(address, &FakeSocket::new(kind)), Decision::Native);
        }
        let mut socket = FakeSocket::new(Kind::Foreign);
        socket.family = None;
        assert_eq!(decide(address, &socket), Decision::Native);
        assert_eq!(socket.asked(), ["internet_family"]);
    }
}
