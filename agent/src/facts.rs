//! Collects the facts about the agent's pod.

use if_addrs::{IfAddr, get_if_addrs};
use kinject_tunnel::{AgentFacts, InterfaceAddress, Scope};

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

// nix's getifaddrs reads memory that it has not initialised: built for the carried agent, it finds no address
fn addresses() -> Vec<InterfaceAddress> {
    let interfaces = match get_if_addrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            log(format_args!("cannot list the network interfaces: {error}"));
            return Vec::new();
        }
    };
    interfaces
        .into_iter()
        .map(|interface| {
            let address = interface.ip();
            let prefix_length = match &interface.addr {
                IfAddr::V4(v4) => v4.prefixlen,
                IfAddr::V6(v6) => v6.prefixlen,
            };
            InterfaceAddress {
                interface: interface.name,
                address,
                prefix_length,
                scope: Scope::of(&address),
            }
        })
        .collect()
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
