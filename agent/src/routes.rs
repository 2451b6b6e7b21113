//! The networks that the pod has routes to, from the kernel's route tables in /proc/net (proc_net(5)).
//!
//! A pod's network plug-in often sets a route to all pods, and always one to those of its own node. The default route
//! covers every address and is skipped.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kinject_tunnel::{Network, Scope};

use crate::log::log;

/// `RTF_REJECT` of linux/route.h: an unreachable route.
const REJECT: u32 = 0x200;

/// The destinations of all routes except default, loopback, link-local and multicast ones.
pub(crate) fn networks() -> Vec<Network> {
    let table = |path: &str, parse: fn(&str) -> Option<Network>| -> Vec<Network> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            // a kernel without IPv6
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => {
                log(format_args!("cannot read {path}: {error}"));
                String::new()
            }
        };
        text.lines()
            .filter_map(parse)
            .filter(is_cluster_network)
            .collect()
    };
    let mut networks = table("/proc/net/route", parse_v4);
    networks.extend(table("/proc/net/ipv6_route", parse_v6));
    networks.sort_by_key(|network| (network.address, network.prefix_length));
    networks.dedup();
    networks
}

fn is_cluster_network(network: &Network) -> bool {
    network.prefix_length > 0
        && Scope::of(&network.address) == Scope::Global
        && !network.address.is_multicast()
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`; addresses in hexadecimal as the processor stores them.
fn parse_v4(line: &str) -> Option<Network> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, destination, _, flags, _, _, _, mask, ..] = fields.as_slice() else {
        return None;
    };
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let mask = u32::from_be_bytes(number(mask)?.to_ne_bytes());
    (number(flags)? & REJECT == 0).then_some(Network {
        address: IpAddr::V4(Ipv4Addr::from(number(destination)?.to_ne_bytes())),
        prefix_length: mask.leading_ones() as u8,
    })
}

/// `Destination Prefix Source Prefix NextHop Metric RefCnt Use Flags Iface`, all but the last in hexadecimal.
fn parse_v6(line: &str) -> Option<Network> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [destination, prefix, _, _, _, _, _, _, flags, _] = fields.as_slice() else {
        return None;
    };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    (flags & REJECT == 0).then_some(Network {
        address: IpAddr::V6(Ipv6Addr::from(u128::from_str_radix(destination, 16).ok()?)),
        prefix_length: u8::from_str_radix(prefix, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(network: Option<Network>) -> String {
        network.map_or_else(
            || "none".to_owned(),
            |network| format!("{}/{}", network.address, network.prefix_length),
        )
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn ipv4_route_table_lines_are_parsed() {
        for (line, expected) in [
            (
                "eth0\t00000000\t0100F40A\t0003\t0\t0\t0\t00000000\t0\t0\t0",
                "0.0.0.0/0",
            ),
            (
                "eth0\t0000F40A\t0100F40A\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0",
                "10.244.0.0/16",
            ),
            ("*\t0000600A\t00000000\t0200\t0\t0\t0\t0000FFFF\t0\t0\t0", "none"),
            (
                "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask",
                "none",
            ),
            ("", "none"),
        ] {
            assert_eq!(text(parse_v4(line)), expected, "{line}");
        }
    }

    #[test]
    fn ipv6_route_table_lines_are_parsed() {
        let zero = "0".repeat(32);
        let route = |destination: &str, prefix: &str, flags: &str| {
            format!("{destination} {prefix} {zero} 00 {zero} 00000100 00000001 00000000 {flags}     eth0")
        };
        let pods = "fd000244000000000000000000000000";
        assert_eq!(text(parse_v6(&route(pods, "38", "00000001"))), "fd00:244::/56");
        assert_eq!(text(parse_v6(&route(&zero, "00", "00200200"))), "none");
        assert_eq!(text(parse_v6("fd00")), "none");
    }

    #[test]
    fn default_loopback_link_local_and_multicast_routes_are_skipped() {
        for (address, prefix_length, expected) in [
            ("0.0.0.0", 0, false),
            ("127.0.0.0", 8, false),
            ("169.254.0.0", 16, false),
            ("ff00::", 8, false),
            ("fe80::", 64, false),
            ("10.244.0.0", 16, true),
            ("fd00:244::", 56, true),
        ] {
            let network = Network {
                address: address.parse().unwrap(),
                prefix_length,
            };
            assert_eq!(is_cluster_network(&network), expected, "{address}");
        }
    }
}
