//! What an agent knows about its pod.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Answer to `GET /.well-known/kinject`. Fields a later agent adds are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentFacts {
    /// Version of the agent.
    pub version: String,
    /// The pod's host name.
    pub hostname: String,
    /// The pod's resolver configuration, word for word.
    pub resolv_conf: String,
    /// The pod's addresses, from which connections leave.
    pub addresses: Vec<InterfaceAddress>,
    /// The networks that the pod has routes to, but for the default one; an older agent tells none.
    #[serde(default)]
    pub networks: Vec<Network>,
}

/// A network of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its first address.
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
    /// How far it reaches.
    pub scope: Scope,
}

/// How far an address reaches.
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
