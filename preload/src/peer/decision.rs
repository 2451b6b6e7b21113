//! Whose address a program is shown in the place of the kernel's.
//!
//! The kernel's answer decides for nearly every socket without another system call: only addresses of a session on
//! loopback stand for others.

use core::net::SocketAddr;
use kinject_protocol::control::{is_data_address, is_stand_in};

/// Where the address comes from that the program is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The kernel: its answer stays.
    Kernel,
    /// The relay, which knows the pod's address for which this one stands.
    PodAddress(SocketAddr),
    /// The relay, which knows the target of the socket's connect.
    Target,
    /// The relay, which knows the pod's address that the socket's peer sees.
    OwnAddress,
}

/// Decides by the peer of a socket that the program may have connected.
#[inline]
pub(super) fn source_of_peer(peer: SocketAddr) -> Source {
    if is_stand_in(peer.ip()) {
        Source::PodAddress(peer)
    } else if is_data_address(peer.ip()) {
        Source::Target
    } else {
        Source::Kernel
    }
}

/// Decides by the peer of a socket that a listener has accepted.
#[inline]
pub(super) fn source_of_accepted(peer: SocketAddr) -> Source {
    match is_stand_in(peer.ip()) {
        true => Source::PodAddress(peer),
        false => Source::Kernel,
    }
}

/// What the decision about a socket's local address asks of the kernel.
pub(super) trait ConnectState {
    /// Whether it is a TCP socket whose asynchronous connect failed.
    fn has_failed(&self) -> bool;

    /// The peer that the socket is connected to, or is connecting to; `local` is its local address.
    fn last_peer(&self, local: SocketAddr) -> Option<SocketAddr>;

    /// Whether it is a TCP socket whose connect is in progress.
    fn is_connecting(&self) -> bool;

    /// Whether it is a datagram socket with a destination.
    fn has_destination(&self, local: SocketAddr) -> bool;
}

/// Decides by the local address of a socket.
#[inline]
pub(super) fn source_of_local(local: SocketAddr, socket: &impl ConnectState) -> Source {
    let ip = local.ip().to_canonical();
    if ip.is_unspecified() {
        // a socket that the relay reset has no local address any more, and still its port
        return match local.port() != 0 && socket.has_failed() {
            true => Source::OwnAddress,
            false => Source::Kernel,
        };
    }
    if !ip.is_loopback() {
        return Source::Kernel;
    }
    if is_stand_in(ip) {
        return Source::PodAddress(local);
    }
    // a socket whose connect failed keeps its peer until the failure is reported
    match socket.last_peer(local).map(|peer| peer.ip()) {
        Some(peer) if is_stand_in(peer) => Source::PodAddress(SocketAddr::new(peer, local.port())),
        Some(peer) if is_data_address(peer) => Source::OwnAddress,
        Some(_) => Source::Kernel,
        None if socket.is_connecting() => Source::OwnAddress,
        // programs connect a datagram socket to an address without a port to learn their own address
        None if socket.has_destination(local) => Source::OwnAddress,
        None => Source::Kernel,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[derive(Default)]
    struct Fake {
        has_failed: bool,
        last_peer: Option<SocketAddr>,
        is_connecting: bool,
        has_destination: bool,
        asked: RefCell<Vec<&'static str>>,
    }

    impl ConnectState for Fake {
        fn has_failed(&self) -> bool {
            self.asked.borrow_mut().push("has_failed");
            self.has_failed
        }

        fn last_peer(&self, _: SocketAddr) -> Option<SocketAddr> {
            self.asked.borrow_mut().push("last_peer");
            self.last_peer
        }

        fn is_connecting(&self) -> bool {
            self.asked.borrow_mut().push("is_connecting");
            self.is_connecting
        }

        fn has_destination(&self, _: SocketAddr) -> bool {
            self.asked.borrow_mut().push("has_destination");
            self.has_destination
        }
    }

    #[test]
    fn peer_on_a_session_address_comes_from_relay() {
        for (peer, expected) in [
            ("127.106.0.1:80", Source::PodAddress(address("127.106.0.1:80"))),
            ("127.107.0.1:80", Source::Target),
            ("[::ffff:127.107.0.1]:80", Source::Target),
            ("[::1]:80", Source::Target),
            ("127.0.0.1:80", Source::Kernel),
            ("192.168.1.1:80", Source::Kernel),
        ] {
            assert_eq!(source_of_peer(address(peer)), expected, "{peer}");
        }
    }

    #[test]
    fn accepted_peer_on_a_stand_in_address_comes_from_relay() {
        let peer = address("127.105.0.1:80");
        assert_eq!(source_of_accepted(peer), Source::PodAddress(peer));
        for peer in ["127.107.0.1:80", "[::1]:80", "10.0.0.1:80"] {
            assert_eq!(source_of_accepted(address(peer)), Source::Kernel, "{peer}");
        }
    }

    #[test]
    fn local_address_off_loopback_stays_without_a_system_call() {
        for local in ["192.168.1.1:80", "[2001:db8::1]:80", "0.0.0.0:0", "[::]:0"] {
            let socket = Fake {
                has_failed: true,
                ..Fake::default()
            };
            assert_eq!(source_of_local(address(local), &socket), Source::Kernel);
            assert!(socket.asked.borrow().is_empty(), "{local}");
        }
    }

    #[test]
    fn unspecified_address_with_port_after_failed_connect_comes_from_relay() {
        for (has_failed, expected) in [(true, Source::OwnAddress), (false, Source::Kernel)] {
            let socket = Fake {
                has_failed,
                ..Fake::default()
            };
            assert_eq!(source_of_local(address("0.0.0.0:4000"), &socket), expected);
        }
    }

    #[test]
    fn local_stand_in_address_comes_from_relay_without_a_system_call() {
        let (local, socket) = (address("127.106.0.1:80"), Fake::default());
        assert_eq!(source_of_local(local, &socket), Source::PodAddress(local));
        assert!(socket.asked.borrow().is_empty());
    }

    #[test]
    fn local_address_of_connected_socket_follows_its_peer() {
        for (peer, expected) in [
            ("127.106.0.1:80", Source::PodAddress(address("127.106.0.1:4000"))),
            ("127.107.0.1:80", Source::OwnAddress),
            ("127.0.0.1:80", Source::Kernel),
        ] {
            let socket = Fake {
                last_peer: Some(address(peer)),
                is_connecting: true,
                ..Fake::default()
            };
            assert_eq!(
                source_of_local(address("127.0.0.1:4000"), &socket),
                expected,
                "{peer}"
            );
            assert_eq!(*socket.asked.borrow(), ["last_peer"]);
        }
    }

    #[test]
    fn local_address_without_peer_is_the_pods_while_connecting_or_with_destination() {
        for (is_connecting, has_destination, expected) in [
            (true, false, Source::OwnAddress),
            (false, true, Source::OwnAddress),
            (false, false, Source::Kernel),
        ] {
            let socket = Fake {
                is_connecting,
                has_destination,
                ..Fake::default()
            };
            assert_eq!(source_of_local(address("127.0.0.1:4000"), &socket), expected);
        }
    }
}
