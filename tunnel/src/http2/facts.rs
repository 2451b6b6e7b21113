//! The facts that an agent reports about its pod, and how many of them a relay accepts.

use std::net::IpAddr;
use std::str::SplitAsciiWhitespace;

use kinject_dns::resolv_conf::{Directive, MAX_SERVERS};
use serde::{Deserialize, Serialize};

/// Accepted search domains, and the bytes of all of them with a separator each: Kubernetes' own limits for a pod
/// (<https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>). Each costs a question for each lookup.
const SEARCH_DOMAINS: usize = 32;
const SEARCH_BYTES: usize = 2048;
/// The longest accepted resolver configuration, several times the size of all accepted lines.
const RESOLV_CONF_BYTES: usize = 16 * 1024;
/// Accepted addresses. A host of containers has hundreds.
const ADDRESSES: usize = 1024;
/// Accepted networks. A pod has routes to a few; each is compared with the addresses of local answers.
const NETWORKS: usize = 256;

/// Answer to `GET /.well-known/kinject`. Fields that a later agent adds are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentFacts {
    /// Version of the agent.
    pub version: String,
    /// The pod's host name.
    pub hostname: String,
    /// The pod's resolver configuration, unchanged.
    pub resolv_conf: String,
    /// The pod's addresses, from which connections leave.
    pub addresses: Vec<InterfaceAddress>,
    /// The networks that the pod has routes to, except the default route; an older agent reports none.
    #[serde(default)]
    pub networks: Vec<Network>,
}

/// A network of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The first address.
    pub address: IpAddr,
    /// How many leading bits all of its addresses share.
    pub prefix_length: u8,
}

/// One address of one interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceAddress {
    /// The interface's name.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Bits of its network.
    pub prefix_length: u8,
    /// The address's scope.
    pub scope: Scope,
}

impl AgentFacts {
    /// Drops what exceeds the bounds, since an agent could report any amount. Returns what was dropped.
    pub fn keep_to_bounds(&mut self) -> Vec<&'static str> {
        let mut dropped = Vec::new();
        if self.addresses.len() > ADDRESSES {
            self.addresses.truncate(ADDRESSES);
            dropped.push("addresses");
        }
        if self.networks.len() > NETWORKS {
            self.networks.truncate(NETWORKS);
            dropped.push("networks");
        }
        let (mut kept, mut servers) = (String::new(), 0);
        for line in self.resolv_conf.lines() {
            let kept_line = match Directive::parse(line) {
                Directive::Search(domains) => within_bounds("search", domains),
                Directive::Domain(domains) => within_bounds("domain", domains),
                Directive::NameServer(_) => {
                    servers += 1;
                    if servers > MAX_SERVERS {
                        dropped.push("name servers");
                        continue;
                    }
                    None
                }
                Directive::Options(_) | Directive::Other => None,
            };
            if kept_line.is_some() {
                dropped.push("search domains");
            }
            let kept_line = kept_line.as_deref().unwrap_or(line);
            if kept.len() + kept_line.len() >= RESOLV_CONF_BYTES {
                dropped.push("lines in its resolv.conf");
                break;
            }
            kept.push_str(kept_line);
            kept.push('\n');
        }
        dropped.sort_unstable();
        dropped.dedup();
        if !dropped.is_empty() {
            self.resolv_conf = kept;
        }
        dropped
    }
}

/// The line with only the accepted domains of a list; none if all of them are accepted.
fn within_bounds(directive: &str, domains: SplitAsciiWhitespace<'_>) -> Option<String> {
    let mut bytes = 0;
    let fits = |domain: &&str| {
        bytes += domain.len() + 1;
        bytes <= SEARCH_BYTES + 1
    };
    let kept: Vec<_> = domains.clone().take(SEARCH_DOMAINS).take_while(fits).collect();
    (kept.len() < domains.count()).then(|| format!("{directive} {}", kept.join(" ")))
}

/// The scope of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// This host only: loopback.
    Host,
    /// This network segment: IPv4 169.254.0.0/16, IPv6 fe80::/10.
    Link,
    /// Everything else.
    Global,
}

impl Scope {
    /// The scope of an address.
    pub fn of(address: &IpAddr) -> Scope {
        match address {
            address if address.is_loopback() => Scope::Host,
            IpAddr::V4(v4) if v4.is_link_local() => Scope::Link,
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Scope::Link,
            _ => Scope::Global,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts(resolv_conf: String) -> AgentFacts {
        AgentFacts {
            version: String::new(),
            hostname: String::new(),
            resolv_conf,
            addresses: Vec::new(),
            networks: Vec::new(),
        }
    }

    /// The accepted part of a resolv.conf, and what was dropped.
    fn kept(text: &str) -> (String, Vec<&'static str>) {
        let mut facts = facts(text.to_owned());
        let dropped = facts.keep_to_bounds();
        (facts.resolv_conf, dropped)
    }

    fn domains(count: usize, length: usize) -> String {
        (0..count).map(|number| format!(" {number:0length$}")).collect()
    }

    #[test]
    fn resolv_conf_within_kubernetes_limits_is_unchanged() {
        let text = format!(
            "# a pod's\nnameserver 10.96.0.10\nnameserver ::1\n nameserver 10.0.0.1\nsearch{}\noptions ndots:5",
            domains(32, 63)
        );
        assert_eq!(kept(&text), (text.clone(), vec![]));
        assert_eq!(kept(""), (String::new(), vec![]));
    }

    #[test]
    fn search_domains_beyond_the_bounds_are_dropped() {
        for (text, expected) in [
            (
                format!("search{}\n", domains(20_000, 5)),
                format!("search{}\n", domains(32, 5)),
            ),
            (
                format!("domain{}\n", domains(32, 255)),
                format!("domain{}\n", domains(8, 255)),
            ),
        ] {
            assert_eq!(kept(&text), (expected, vec!["search domains"]));
        }
    }

    #[test]
    fn servers_lines_addresses_and_networks_beyond_the_bounds_are_dropped() {
        let (text, dropped) = kept(&"nameserver 10.0.0.1\n".repeat(1000));
        assert_eq!(
            (text, dropped),
            ("nameserver 10.0.0.1\n".repeat(3), vec!["name servers"])
        );
        let (text, dropped) = kept(&format!(
            "options a\noptions {}\noptions b\n",
            "x".repeat(100_000)
        ));
        assert_eq!(
            (text.as_str(), dropped),
            ("options a\n", vec!["lines in its resolv.conf"])
        );
        let mut many = facts("search a".into());
        many.addresses = vec![
            InterfaceAddress {
                interface: "eth0".into(),
                address: IpAddr::from([10, 0, 0, 1]),
                prefix_length: 24,
                scope: Scope::Global,
            };
            5000
        ];
        many.networks = vec![
            Network {
                address: IpAddr::from([10, 0, 0, 0]),
                prefix_length: 24,
            };
            5000
        ];
        assert_eq!(many.keep_to_bounds(), ["addresses", "networks"]);
        assert_eq!((many.addresses.len(), many.networks.len()), (ADDRESSES, NETWORKS));
    }

    proptest! {
        #[test]
        fn any_agent_facts_are_within_the_bounds_after_trimming(
            lines in prop::collection::vec((0..5_usize, 0..60_usize, 0..300_usize), 0..40),
        ) {
            let words = ["search", "domain", "nameserver", "options", ""];
            let line = |(word, count, length): &(usize, usize, usize)| {
                format!("{}{}\n", words[*word], domains(*count, *length))
            };
            let text: String = lines.iter().map(line).collect();
            let (text, _) = kept(&text);
            prop_assert!(text.len() <= RESOLV_CONF_BYTES);
            prop_assert_eq!(kept(&text).1, Vec::<&str>::new());
        }
    }
}
