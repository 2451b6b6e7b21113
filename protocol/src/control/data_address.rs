//! The loopback addresses of a session.
//!
//! Each session has three addresses in 127.0.0.0/8, which no other machine reaches: one for its relay's sockets, and a
//! stand-in for the pod's own address of each family. They differ in the second octet; the last two octets identify the
//! session.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The second octet of the addresses of relays' sockets.
const DATA: [u8; 2] = [127, 107];

/// The second octet of stand-ins for pods' IPv4 addresses.
const POD_V4: [u8; 2] = [127, 106];

/// The second octet of stand-ins for pods' IPv6 addresses, used IPv4-mapped: IPv6 loopback is a single address, which
/// all sessions would share.
const POD_V6: [u8; 2] = [127, 105];

/// The addresses of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionAddresses {
    /// The address of its relay's data sockets.
    pub data: Ipv4Addr,
    /// The stand-in for the pod's IPv4 address.
    pub pod_v4: Ipv4Addr,
    /// The stand-in for the pod's IPv6 address, to be IPv4-mapped.
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
/// An IPv6-only socket cannot reach the relays' addresses; its data comes from `::1`, which other programs use, too.
#[inline]
pub fn is_data_address(peer: IpAddr) -> bool {
    match peer.to_canonical() {
        IpAddr::V4(v4) => is_within(v4, DATA),
        IpAddr::V6(v6) => v6 == Ipv6Addr::LOCALHOST,
    }
}

/// Whether this loopback address is a stand-in for a pod's own.
#[inline]
pub fn is_stand_in(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_within(v4, POD_V4) || is_within(v4, POD_V6),
        IpAddr::V6(_) => false,
    }
}

/// Whether this is loopback or the unspecified address, which the kernel treats as loopback: it means the machine of
/// the program that uses it.
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
