//! The order in which getaddrinfo(3) gives a name's addresses: RFC 6724, section 6, as glibc applies it, seen from
//! the agent's pod.
//!
//! The rules on deprecated and home addresses and on native transport (3, 4, 7) do not apply: a pod has no such
//! addresses. As in glibc, rule 9 compares IPv4 addresses only inside the source's own subnet.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv6Addr};

/// An address of the agent's pod with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The address.
    pub(crate) address: IpAddr,
    /// How many leading bits are its network.
    pub(crate) prefix: u8,
}

/// Sorts the best address first; equal ones keep their order (rule 10).
pub(crate) fn sort(addresses: &mut [IpAddr], sources: &[Source]) {
    addresses.sort_by(|a, b| compare(*a, source_for(*a, sources), *b, source_for(*b, sources)));
}

/// The source address of a connection to `destination`.
pub(crate) fn source_for(destination: IpAddr, sources: &[Source]) -> Option<Source> {
    let usable = |source: &&Source| {
        source.address.is_ipv4() == destination.is_ipv4()
            && source.address.is_loopback() == destination.is_loopback()
            && (scope(source.address) == scope(destination) || scope(source.address) > LINK)
    };
    sources
        .iter()
        .filter(usable)
        .max_by_key(|source| common_bits(source.address, destination))
        .copied()
}

fn compare(a: IpAddr, from_a: Option<Source>, b: IpAddr, from_b: Option<Source>) -> Ordering {
    // rule 1: avoid destinations that cannot be reached
    let (from_a, from_b) = match (from_a, from_b) {
        (Some(from_a), Some(from_b)) => (from_a, from_b),
        (from_a, from_b) => return from_b.is_some().cmp(&from_a.is_some()),
    };
    let matches_scope = |to, from: Source| scope(to) == scope(from.address);
    let matches_label = |to, from: Source| policy(to).label == policy(from.address).label;
    // rules 2, 5, 6, 8, 9; "prefer true" means that true comes first
    matches_scope(b, from_b)
        .cmp(&matches_scope(a, from_a))
        .then_with(|| matches_label(b, from_b).cmp(&matches_label(a, from_a)))
        .then_with(|| policy(b).precedence.cmp(&policy(a).precedence))
        .then_with(|| scope(a).cmp(&scope(b)))
        .then_with(|| match a.is_ipv4() == b.is_ipv4() {
            true => prefix_rank(b, from_b).cmp(&prefix_rank(a, from_a)),
            false => Ordering::Equal,
        })
}

/// Rule 9: how many leading bits source and destination share.
fn prefix_rank(destination: IpAddr, source: Source) -> u32 {
    let common = common_bits(destination, source.address);
    if destination.is_ipv4() && common < u32::from(source.prefix) {
        0
    } else {
        common
    }
}

fn common_bits(a: IpAddr, b: IpAddr) -> u32 {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    }
}

/// Link-local scope (RFC 4291, 2.7).
const LINK: u8 = 2;

fn scope(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(v4) if v4.is_loopback() || v4.is_link_local() => LINK,
        IpAddr::V6(v6) if v6.is_loopback() || v6.is_unicast_link_local() => LINK,
        IpAddr::V6(v6) if v6.is_multicast() => v6.octets()[1] & 0xf,
        _ => 14,
    }
}

/// A row of the policy table.
struct Policy {
    prefix: Ipv6Addr,
    length: u8,
    precedence: u8,
    label: u8,
}

const fn row(prefix: [u16; 8], length: u8, precedence: u8, label: u8) -> Policy {
    let [a, b, c, d, e, f, g, h] = prefix;
    Policy {
        prefix: Ipv6Addr::new(a, b, c, d, e, f, g, h),
        length,
        precedence,
        label,
    }
}

/// glibc's default table (gai.conf(5)), the longest prefix first.
static POLICIES: [Policy; 8] = [
    row([0, 0, 0, 0, 0, 0, 0, 1], 128, 50, 0),
    row([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, 10, 4),
    row([0; 8], 96, 20, 3),
    row([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, 40, 7),
    row([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, 30, 2),
    row([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, 40, 5),
    row([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, 40, 6),
    row([0; 8], 0, 40, 1),
];

fn policy(address: IpAddr) -> &'static Policy {
    let address = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let matches =
        |row: &&Policy| (address.to_bits() ^ row.prefix.to_bits()).leading_zeros() >= u32::from(row.length);
    POLICIES
        .iter()
        .find(matches)
        .unwrap_or(&POLICIES[POLICIES.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(addresses: &[&str], sources: &[(&str, u8)]) -> Vec<String> {
        let mut addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let sources: Vec<Source> = sources
            .iter()
            .map(|(address, prefix)| Source {
                address: address.parse().unwrap(),
                prefix: *prefix,
            })
            .collect();
        sort(&mut addresses, &sources);
        addresses.into_iter().map(|address| address.to_string()).collect()
    }

    const POD: &[(&str, u8)] = &[("127.0.0.1", 8), ("10.244.0.5", 24)];

    #[test]
    fn addresses_in_the_pods_subnet_are_sorted_by_common_prefix() {
        let order = sorted(&["10.244.0.200", "10.244.0.4", "10.244.0.7"], POD);
        assert_eq!(order, ["10.244.0.4", "10.244.0.7", "10.244.0.200"]);
    }

    #[test]
    fn addresses_outside_the_pods_subnet_keep_their_order() {
        let order = ["10.96.0.9", "10.96.0.1", "203.0.113.1"];
        assert_eq!(sorted(&order, POD), order);
    }

    #[test]
    fn family_without_a_pod_address_comes_last() {
        assert_eq!(
            sorted(&["2001:db8::1", "10.96.0.1"], POD),
            ["10.96.0.1", "2001:db8::1"]
        );
    }

    #[test]
    fn ipv6_comes_first_when_the_pod_has_both_families() {
        let pod = &[("10.244.0.5", 24), ("2001:db8::5", 64)];
        assert_eq!(
            sorted(&["10.96.0.1", "2001:db8::1"], pod),
            ["2001:db8::1", "10.96.0.1"]
        );
    }

    #[test]
    fn every_address_has_a_policy() {
        assert_eq!(policy("::1".parse().unwrap()).label, 0);
        assert_eq!(policy("10.0.0.1".parse().unwrap()).label, 4);
        assert_eq!(policy("fd00::1".parse().unwrap()).label, 6);
        assert_eq!(policy("2a00::1".parse().unwrap()).label, 1);
    }
}
