//! Collects the facts about the agent's pod.

use std::net::IpAddr;

use kinject_tunnel::{AgentFacts, InterfaceAddress, Scope};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use crate::log::log;
use crate::routes;

/// Collects facts for each request, since addresses may change.
pub(crate) struct Facts {
    resolv_conf: String,
}

impl Facts {
    pub(crate) fn new(resolv_conf: String) -> Self {
        Facts { resolv_conf }
    }

    pub(crate) fn collect(&self) -> AgentFacts {
        let hostname = nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_else(|error| {
                log(format_args!("cannot read the host name: {error}"));
                String::new()
            });
        AgentFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hostname,
            resolv_conf: self.resolv_conf.clone(),
            addresses: addresses(),
            networks: routes::networks(),
        }
    }
}

fn addresses() -> Vec<InterfaceAddress> {
    let interfaces = match getifaddrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            log(format_args!("cannot list the network interfaces: {error}"));
            return Vec::new();
        }
    };
    interfaces
        .filter_map(|interface| {
            let address = ip(&interface.address?)?;
            let prefix_length = interface
                .netmask
                .as_ref()
                .and_then(ip)
                .map_or(0, |mask| leading_ones(&mask));
            let scope = Scope::of(&address);
            Some(InterfaceAddress {
                interface: interface.interface_name,
                address,
                prefix_length,
                scope,
            })
        })
        .collect()
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

fn leading_ones(mask: &IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => u32::from(*mask).leading_ones(),
        IpAddr::V6(mask) => u128::from(*mask).leading_ones(),
    };
    ones as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_listed_with_its_network() {
        let facts = Facts::new("nameserver 10.96.0.10\n".into()).collect();
        assert_eq!(facts.resolv_conf, "nameserver 10.96.0.10\n");
        assert!(!facts.hostname.is_empty());
        let loopback = facts
            .addresses
            .iter()
            .find(|found| found.address.to_string() == "127.0.0.1")
            .unwrap();
        assert_eq!((loopback.prefix_length, loopback.scope), (8, Scope::Host));
    }
}
