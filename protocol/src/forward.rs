//! What `kinject forward` listens at on this machine, and what of the cluster is reached by that.

use crate::workload::WorkloadName;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Everything that the relay of `kinject forward` listens at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardRequest {
    /// Where all forwards listen (`--address`).
    pub addresses: Vec<ListenAddress>,
    /// The forwards.
    pub forwards: Vec<Forward>,
    /// Where a SOCKS5 server listens (`--socks`).
    pub socks: Option<SocksEndpoint>,
}

/// An address of this machine, without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenAddress {
    /// 127.0.0.1, and ::1 where this machine has it.
    Localhost,
    /// This one.
    Ip(IpAddr),
}

/// Where a SOCKS5 server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocksEndpoint {
    /// The address.
    pub address: ListenAddress,
    /// The port; 0 for a free one.
    pub port: u16,
}

/// One local port, and what it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Whose port is reached.
    pub target: ForwardTarget,
    /// The local port; 0 for a free one.
    pub local: u16,
    /// The target's port.
    pub remote: RemotePort,
    /// The protocol at both ends.
    pub protocol: PortProtocol,
}

/// What a forward leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardTarget {
    /// A name without a type, or an address: a Service if there is one of that name, otherwise a host.
    Host(String),
    /// `svc/NAME[.NAMESPACE]`
    Service {
        /// Its name.
        name: String,
        /// Its namespace; otherwise the session's.
        namespace: Option<String>,
    },
    /// Pods of a workload, or one pod. The name may end in `.NAMESPACE`, or may itself contain dots.
    Pods(WorkloadName),
}

/// A port of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemotePort {
    /// By number.
    Number(u16),
    /// By the name that the Service or the container gives it.
    Name(String),
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortProtocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// What the relay listens at, once it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forwarding {
    /// A forward.
    To {
        /// The local address.
        local: SocketAddr,
        /// The protocol.
        protocol: PortProtocol,
        /// Target and port, as messages name them: `db.default:5432`.
        target: String,
    },
    /// The SOCKS5 server.
    Socks(SocketAddr),
}

impl ListenAddress {
    /// Whether only this machine reaches it.
    pub fn is_loopback(self) -> bool {
        match self {
            Self::Localhost => true,
            Self::Ip(ip) => ip.to_canonical().is_loopback(),
        }
    }
}

impl PortProtocol {
    /// The name that Kubernetes gives it.
    pub fn in_api(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }

    /// What stands behind a port: nothing, or `/udp`.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Tcp => "",
            Self::Udp => "/udp",
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Localhost => formatter.write_str("localhost"),
            Self::Ip(ip) => ip.fmt(formatter),
        }
    }
}

impl fmt::Display for ForwardTarget {
    /// As the user writes it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => formatter.write_str(host),
            Self::Service { name, namespace } => {
                write!(formatter, "service/{name}")?;
                match namespace {
                    Some(namespace) => write!(formatter, ".{namespace}"),
                    None => Ok(()),
                }
            }
            Self::Pods(workload) => workload.fmt(formatter),
        }
    }
}

impl fmt::Display for RemotePort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(formatter),
            Self::Name(name) => formatter.write_str(name),
        }
    }
}

impl fmt::Display for Forwarding {
    /// The line that the user sees.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To {
                local,
                protocol,
                target,
            } => write!(formatter, "Forwarding {local}{} -> {target}", protocol.suffix()),
            Self::Socks(local) => write!(formatter, "Forwarding {local} -> any target, by SOCKS5"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarding_is_shown_with_both_ends_and_its_protocol() {
        let line = |local: &str, protocol, target: &str| {
            let local = local.parse().unwrap();
            let target = target.to_owned();
            Forwarding::To {
                local,
                protocol,
                target,
            }
            .to_string()
        };
        assert_eq!(
            line("127.0.0.1:5432", PortProtocol::Tcp, "db.default:5432"),
            "Forwarding 127.0.0.1:5432 -> db.default:5432"
        );
        assert_eq!(
            line("[::1]:5353", PortProtocol::Udp, "kube-dns.kube-system:53/udp"),
            "Forwarding [::1]:5353/udp -> kube-dns.kube-system:53/udp"
        );
        assert_eq!(
            Forwarding::Socks("127.0.0.1:1080".parse().unwrap()).to_string(),
            "Forwarding 127.0.0.1:1080 -> any target, by SOCKS5"
        );
    }

    #[test]
    fn only_loopback_addresses_are_loopback() {
        for (address, expected) in [("127.0.0.1", true), ("::1", true), ("::ffff:127.0.0.9", true)] {
            assert_eq!(
                ListenAddress::Ip(address.parse().unwrap()).is_loopback(),
                expected
            );
        }
        for address in ["0.0.0.0", "::", "192.168.1.5"] {
            assert!(
                !ListenAddress::Ip(address.parse().unwrap()).is_loopback(),
                "{address}"
            );
        }
        assert!(ListenAddress::Localhost.is_loopback());
    }
}
