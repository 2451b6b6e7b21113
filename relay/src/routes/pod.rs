//! The pod in whose place the session's programs stand.
//!
//! What a program does at the pod's own address, where it learnt it, it means to do at its own: here. An address on loopback
//! stands for it. In a pod that kinject made nobody listens but the agent. An agent that somebody runs by hand may stand in a
//! network with others, or in this machine's own; then an address of its is reached here only where somebody listens here.

use super::here;
use crate::sock_diag;
use kinject_protocol::control::SessionAddresses;
use netlink_packet_sock_diag::constants::{IPPROTO_TCP, IPPROTO_UDP};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How many addresses of a pod count: a pod has one of each family, and one more for each further network.
const MOST: usize = 32;

/// How a program speaks with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// It connects.
    Tcp,
    /// It sends datagrams.
    Udp,
}

impl Transport {
    /// The word for what a program does.
    pub(crate) fn call(self) -> &'static str {
        match self {
            Self::Tcp => "connect",
            Self::Udp => "datagram",
        }
    }

    /// Whether somebody on this machine takes what comes to this address, as far as the kernel tells.
    fn is_taken(self, address: SocketAddr) -> bool {
        let nobody = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let inquiry = sock_diag::Inquiry::open();
        let found = inquiry.and_then(|inquiry| match self {
            Self::Tcp => inquiry.inode(IPPROTO_TCP, address, nobody),
            Self::Udp => inquiry.inode(IPPROTO_UDP, address, nobody),
        });
        found.is_ok()
    }
}

/// The pod, and what stands for its addresses.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    addresses: Vec<IpAddr>,
    stand_ins: SessionAddresses,
    is_shared: bool,
}

impl Pod {
    /// A pod with these addresses, or whatever else an agent stands in, perhaps with others.
    pub(crate) fn new(
        addresses: impl Iterator<Item = IpAddr>,
        stand_ins: SessionAddresses,
        is_shared: bool,
    ) -> Self {
        let is_its_own = |address: &IpAddr| match address {
            IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
            IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
        };
        Self {
            addresses: addresses.filter(is_its_own).take(MOST).collect(),
            stand_ins,
            is_shared,
        }
    }

    /// What stands on loopback for this address, if it is the pod's own and not this machine's.
    pub(super) fn stand_in(&self, address: SocketAddr) -> Option<SocketAddr> {
        let ip = address.ip().to_canonical();
        let is_own = self.addresses.contains(&ip)
            && !(self.is_shared && here::is_of_this_machine(SocketAddr::new(ip, 0)));
        is_own.then(|| {
            let there = match ip {
                IpAddr::V4(_) => self.stand_ins.pod_v4,
                IpAddr::V6(_) => self.stand_ins.pod_v6,
            };
            SocketAddr::new(there.into(), address.port())
        })
    }

    /// The pod's address for which this one stands on loopback.
    pub(super) fn address(&self, stand_in: SocketAddr) -> Option<SocketAddr> {
        let IpAddr::V4(ip) = stand_in.ip().to_canonical() else {
            return None;
        };
        let like: IpAddr = match ip {
            _ if ip == self.stand_ins.pod_v4 => Ipv4Addr::UNSPECIFIED.into(),
            _ if ip == self.stand_ins.pod_v6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let mut addresses = self.addresses.iter();
        let own = addresses.find(|address| address.is_ipv4() == like.is_ipv4())?;
        Some(SocketAddr::new(*own, stand_in.port()))
    }

    /// Whether what goes to this address, for which `stand_in` stands, stays here.
    pub(super) fn is_reached_here(&self, stand_in: SocketAddr, transport: Transport) -> bool {
        !self.is_shared || transport.is_taken(stand_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    const STAND_IN: Ipv4Addr = Ipv4Addr::new(127, 106, 3, 4);

    fn pod(is_shared: bool) -> Pod {
        let addresses = ["127.0.0.1", "::1", "10.244.0.5", "fe80::5", "fd00::5"];
        let addresses = addresses.into_iter().map(|address| address.parse().unwrap());
        Pod::new(addresses, SessionAddresses::of(0x0102_0304), is_shared)
    }

    #[test]
    fn each_address_of_the_pods_has_a_stand_in_of_its_family_and_back() {
        for (own, stand_in) in [
            ("10.244.0.5:80", "127.106.3.4:80"),
            ("[::ffff:10.244.0.5]:80", "127.106.3.4:80"),
            ("[fd00::5]:80", "127.105.3.4:80"),
        ] {
            let own: SocketAddr = own.parse().unwrap();
            let found = pod(false).stand_in(own).unwrap();
            assert_eq!(found, stand_in.parse().unwrap());
            let back = pod(false).address(found).unwrap();
            assert_eq!(back, SocketAddr::new(own.ip().to_canonical(), 80));
        }
        for other in ["127.0.0.1:80", "[::1]:80", "10.244.0.6:80", "[fe80::5]:80"] {
            assert_eq!(pod(false).stand_in(other.parse().unwrap()), None, "{other}");
        }
        // another session's
        assert_eq!(pod(false).address("127.106.3.5:80".parse().unwrap()), None);
    }

    #[test]
    fn where_others_are_an_address_is_reached_here_only_if_somebody_listens() {
        for host in ["127.106.3.4", "0.0.0.0"] {
            let listener = TcpListener::bind((host, 0)).unwrap();
            let there = SocketAddr::new(STAND_IN.into(), listener.local_addr().unwrap().port());
            assert!(pod(true).is_reached_here(there, Transport::Tcp), "{host}");
            drop(listener);
            assert!(!pod(true).is_reached_here(there, Transport::Tcp), "{host}");
            assert!(pod(false).is_reached_here(there, Transport::Tcp));
            let socket = UdpSocket::bind((host, 0)).unwrap();
            let there = SocketAddr::new(STAND_IN.into(), socket.local_addr().unwrap().port());
            assert!(pod(true).is_reached_here(there, Transport::Udp), "{host}");
            drop(socket);
            assert!(!pod(true).is_reached_here(there, Transport::Udp), "{host}");
        }
    }

    #[test]
    fn an_agent_in_this_machines_own_network_has_no_address_that_is_not_this_machines() {
        let own: IpAddr = "127.0.0.1".parse().unwrap();
        let mut pod = pod(true);
        // loopback is the one address that every machine has
        pod.addresses = vec![own];
        assert_eq!(pod.stand_in(SocketAddr::new(own, 80)), None);
        pod.is_shared = false;
        assert!(pod.stand_in(SocketAddr::new(own, 80)).is_some());
    }
}
