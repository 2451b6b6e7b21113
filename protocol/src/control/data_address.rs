//! Which addresses of this machine carry a session's data.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The part of the loopback network in which relays listen for their programs' data, with [`DATA_PREFIX`].
pub const DATA_NETWORK: Ipv4Addr = Ipv4Addr::new(127, 107, 0, 0);

/// The length of [`DATA_NETWORK`]'s prefix, in bits.
pub const DATA_PREFIX: u32 = 16;

/// May a socket with this peer be one that a relay connected?
///
/// A socket that speaks IPv6 alone cannot reach [`DATA_NETWORK`]; its data comes from `::1`, which others use too.
#[inline]
pub fn is_data_address(peer: IpAddr) -> bool {
    match peer.to_canonical() {
        IpAddr::V4(v4) => (v4.to_bits() ^ DATA_NETWORK.to_bits()) >> (u32::BITS - DATA_PREFIX) == 0,
        IpAddr::V6(v6) => v6 == Ipv6Addr::LOCALHOST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_data_network_and_the_loopback_of_ipv6_carry_data() {
        for (address, expected) in [
            ("127.107.0.1", true),
            ("127.107.255.255", true),
            ("::ffff:127.107.3.4", true),
            ("::1", true),
            ("127.0.0.1", false),
            ("127.108.0.1", false),
            ("10.107.0.1", false),
            ("::", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_data_address(address.parse().unwrap()), expected, "{address}");
        }
    }
}
