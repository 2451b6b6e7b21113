//! The resolver settings of the agent's pod, and its addresses.

use super::order::Source;
use ipnet::IpNet;
use kinject_dns::resolv_conf::ResolvConf;
use kinject_protocol::control::Family;
use kinject_tunnel::{AgentFacts, InterfaceAddress};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The resolver settings and addresses of the agent's pod.
#[derive(Clone, Debug)]
pub(crate) struct PodNames {
    /// Its resolv.conf.
    pub(crate) conf: ResolvConf,
    /// Its addresses.
    pub(crate) sources: Vec<Source>,
    /// The networks of these addresses and of its routes, which are the cluster's.
    pub(crate) networks: Vec<IpNet>,
}

impl From<&AgentFacts> for PodNames {
    fn from(facts: &AgentFacts) -> Self {
        let source = |interface: &InterfaceAddress| Source {
            address: interface.address,
            prefix: interface.prefix_length,
        };
        let interfaces = facts.addresses.iter();
        let own = interfaces.map(|interface| (interface.address, interface.prefix_length));
        let routes = facts
            .networks
            .iter()
            .map(|network| (network.address, network.prefix_length));
        Self {
            conf: ResolvConf::parse(&facts.resolv_conf),
            sources: facts.addresses.iter().map(source).collect(),
            networks: own.chain(routes).filter_map(network).collect(),
        }
    }
}

/// The network, if it is the cluster's: not loopback or link-local, which each machine has itself, nor the default
/// route.
fn network((address, prefix): (IpAddr, u8)) -> Option<IpNet> {
    let address = address.to_canonical();
    let is_of_every_machine = match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified(),
    };
    let network = IpNet::new(address, prefix).ok()?.trunc();
    (!is_of_every_machine && prefix > 0).then_some(network)
}

/// The addresses that do not count for `AI_ADDRCONFIG`.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

impl PodNames {
    /// The part of `family` that `AI_ADDRCONFIG` allows: families of which the pod has an address other than loopback
    /// (getaddrinfo(3)). As in glibc, a link-local address counts.
    pub(super) fn configured(&self, family: Family) -> Option<Family> {
        let has = |is_wanted: fn(&IpAddr) -> bool| {
            let mut addresses = self.sources.iter().map(|source| source.address);
            addresses.any(|address| is_wanted(&address) && !LOOPBACK.contains(&address))
        };
        match (family, has(IpAddr::is_ipv4), has(IpAddr::is_ipv6)) {
            (Family::Any, true, false) => Some(Family::V4),
            (Family::Any, false, true) => Some(Family::V6),
            (Family::V4, false, true) | (Family::V6 | Family::Mapped, true, false) => None,
            (family, ..) => Some(family),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_networks_exclude_loopback_link_local_and_default() {
        for (address, prefix, expected) in [
            ("10.244.1.7", 24, Some("10.244.1.0/24")),
            ("10.244.1.7", 32, Some("10.244.1.7/32")),
            ("fd00:244::7", 64, Some("fd00:244::/64")),
            ("127.0.0.1", 8, None),
            ("169.254.1.1", 16, None),
            ("fe80::1", 64, None),
            ("10.0.0.0", 0, None),
            ("10.0.0.0", 33, None),
        ] {
            let found = network((address.parse().unwrap(), prefix)).map(|network| network.to_string());
            assert_eq!(found.as_deref(), expected, "{address}/{prefix}");
        }
    }

    #[test]
    fn family_is_configured_when_the_pod_has_an_address_of_it() {
        let pod = |addresses: &[&str]| PodNames {
            conf: ResolvConf::parse(""),
            sources: addresses
                .iter()
                .map(|address| Source {
                    address: address.parse().unwrap(),
                    prefix: 24,
                })
                .collect(),
            networks: Vec::new(),
        };
        let v4 = pod(&["127.0.0.1", "::1", "10.244.0.5"]);
        assert_eq!(v4.configured(Family::Any), Some(Family::V4));
        assert_eq!(v4.configured(Family::V4), Some(Family::V4));
        assert_eq!(v4.configured(Family::V6), None);
        assert_eq!(v4.configured(Family::Mapped), None);
        let v6 = pod(&["127.0.0.1", "fe80::1"]);
        assert_eq!(v6.configured(Family::Any), Some(Family::V6));
        assert_eq!(v6.configured(Family::V4), None);
        assert_eq!(v6.configured(Family::Mapped), Some(Family::Mapped));
        let both = pod(&["10.244.0.5", "fe80::1"]);
        let none = pod(&["127.0.0.1"]);
        for family in [Family::Any, Family::V4, Family::V6, Family::Mapped] {
            assert_eq!(both.configured(family), Some(family));
            assert_eq!(none.configured(family), Some(family));
        }
    }
}
