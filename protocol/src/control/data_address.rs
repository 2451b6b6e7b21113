//! Which addresses of this machine are a session's.
//!
//! Each session has three of the loopback network, which nobody outside of this machine reaches: one where its relay's
//! sockets are, and one for each family that stands for the pod's own address. They differ in their second number, and
//! their last two are the session's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where relays' sockets are.
const DATA: [u8; 2] = [127, 107];

/// What stands for pods' IPv4 addresses.
const POD_V4: [u8; 2] = [127, 106];

/// What stands for pods' IPv6 addresses, mapped: loopback has one address of IPv6 alone, which all sessions would share.
const POD_V6: [u8; 2] = [127, 105];

/// The addresses of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionAddresses {
    /// Where its relay listens for its programs' data.
    pub data: Ipv4Addr,
    /// What stands for the pod's IPv4 address.
    pub pod_v4: Ipv4Addr,
    /// What stands for the pod's IPv6 address, to be mapped.
    pub pod_v6: Ipv4Addr,
}

impl SessionAddresses {
    /// The addresses of the session with this number.
    pub fn of(session: u32) -> Self {
        let [.., c, d] = session.to_be_bytes();
        // .0 and .255 are as good as any other address of the loopback network
        let within = |[a, b]: [u8; 2]| Ipv4Addr::new(a, b, c, d);
        Self {
            data: within(DATA),
            pod_v4: within(POD_V4),
            pod_v6: within(POD_V6),
        }
    }
}

/// May a socket with this peer be one that a relay connected?
///
/// A socket that speaks IPv6 alone cannot reach the relays' addresses; its data comes from `::1`, which others use too.
#[inline]
pub fn is_data_address(peer: IpAddr) -> bool {
    match peer.to_canonical() {
        IpAddr::V4(v4) => is_within(v4, DATA),
        IpAddr::V6(v6) => v6 == Ipv6Addr::LOCALHOST,
    }
}

/// Does this address on loopback stand for a pod's own?
#[inline]
pub fn is_stand_in(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_within(v4, POD_V4) || is_within(v4, POD_V6),
        IpAddr::V6(_) => false,
    }
}

/// Loopback and the unspecified address, which the kernel takes for loopback: they are whoever's machine it is that asks.
#[inline]
pub fn is_of_every_machine(address: IpAddr) -> bool {
    let canonical = address.to_canonical();
    canonical.is_loopback() || canonical.is_unspecified()
}

#[inline]
fn is_within(address: Ipv4Addr, network: [u8; 2]) -> bool {
    let [a, b, ..] = address.octets();
    [a, b] == network
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_relay_addresses_and_ipv6_loopback_are_data_addresses() {
        for (text, expected) in [
            ("127.107.0.1", true),
            ("127.107.255.255", true),
            ("::ffff:127.107.3.4", true),
            ("::1", true),
            ("127.0.0.1", false),
            ("127.106.0.1", false),
            ("127.108.0.1", false),
            ("10.107.0.1", false),
            ("::", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_data_address(address(text)), expected, "{text}");
        }
    }

    #[test]
    fn stand_in_address_is_not_a_data_address() {
        for (text, expected) in [
            ("127.106.0.1", true),
            ("::ffff:127.106.3.4", true),
            ("::ffff:127.105.3.4", true),
            ("127.107.0.1", false),
            ("127.104.0.1", false),
            ("127.0.0.1", false),
            ("10.106.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(is_stand_in(address(text)), expected, "{text}");
        }
    }

    #[test]
    fn addresses_of_two_sessions_differ() {
        let session = SessionAddresses::of(0x0102_0304);
        let expected = SessionAddresses {
            data: Ipv4Addr::new(127, 107, 3, 4),
            pod_v4: Ipv4Addr::new(127, 106, 3, 4),
            pod_v6: Ipv4Addr::new(127, 105, 3, 4),
        };
        assert_eq!(session, expected);
        assert!(is_data_address(session.data.into()));
        assert!(is_stand_in(session.pod_v4.into()) && is_stand_in(session.pod_v6.into()));
        assert_ne!(SessionAddresses::of(5), session);
    }

    #[test]
    fn loopback_and_unspecified_are_local_in_every_notation() {
        for (text, expected) in [
            ("127.0.0.1", true),
            ("127.255.0.9", true),
            ("0.0.0.0", true),
            ("::1", true),
            ("::", true),
            ("::ffff:127.0.0.1", true),
            ("::ffff:0.0.0.0", true),
            ("10.96.0.1", false),
            ("fd00::1", false),
        ] {
            assert_eq!(is_of_every_machine(address(text)), expected, "{text}");
        }
    }
}
