//! Why a machine cannot hold programs' connects in progress, as an error for its user.

use crate::report::Failure;
use rustix::net::AddressFamily;
use std::io;

/// Why connects cannot be held in progress here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsuited {
    /// A blackhole listener cannot be bound.
    #[error("cannot listen on loopback for packets of a hop limit (IP_MINTTL): {0}")]
    NoBlackhole(#[source] io::Error),
    /// A setting gives all packets the highest hop limit, so that no listener drops them.
    #[error("cannot hold connects in progress: {0} is 255, and no hop limit is higher")]
    HighestHopLimit(&'static str),
    /// The kernel accepts the option of blackhole listeners, and ignores it.
    #[error("cannot hold connects in progress: the kernel does not heed {0} on loopback")]
    HopLimitIgnored(&'static str),
    /// Connects can be held in progress, and not established.
    #[error("cannot hold connects in progress: no simultaneous open of TCP on loopback: {0}")]
    NoSimultaneousOpen(#[source] io::Error),
}

impl Unsuited {
    /// A blackhole listener accepted the packets of an ordinary socket.
    pub(super) fn accepted_by_blackhole(family: AddressFamily) -> Self {
        let (option, setting, file) = if family == AddressFamily::INET {
            (
                "IP_MINTTL",
                "net.ipv4.ip_default_ttl",
                "/proc/sys/net/ipv4/ip_default_ttl",
            )
        } else {
            (
                "IPV6_MINHOPCOUNT",
                "net.ipv6.conf.lo.hop_limit",
                "/proc/sys/net/ipv6/conf/lo/hop_limit",
            )
        };
        match std::fs::read_to_string(file) {
            Ok(value) if value.trim() == "255" => Self::HighestHopLimit(setting),
            // a kernel that does not show the setting may still have it
            Ok(_) | Err(_) => Self::HopLimitIgnored(option),
        }
    }
}

impl From<Unsuited> for Failure {
    fn from(unsuited: Unsuited) -> Self {
        let hint = match &unsuited {
            Unsuited::NoBlackhole(_) => "check that the loopback interface is up: run `ip link show lo`".to_owned(),
            Unsuited::HighestHopLimit(setting) => {
                format!("run `sysctl {setting}=64` as root, which is what kernels come with")
            }
            Unsuited::HopLimitIgnored(_) => "kinject needs the network stack of Linux itself".to_owned(),
            Unsuited::NoSimultaneousOpen(_) => {
                "look for a packet filter that drops connections on loopback: run `nft list ruleset` and `iptables -S` as root"
                    .to_owned()
            }
        };
        Self::lasting(unsuited.to_string(), &hint)
    }
}
