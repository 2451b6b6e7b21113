//! The agent's pod, whose addresses stand for the session's programs.
//!
//! A program that uses the pod's own address means its own host, which is this machine. Each address of the pod has a
//! stand-in on loopback. In a pod that kinject created only the agent listens. An agent that was started by hand may
//! share its network with other servers, or be on this machine; then the stand-in is used only where one of the
//! session's programs listens.

use super::listeners::SessionListeners;
use kinject_protocol::control::SessionAddresses;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

/// Maximum number of addresses of a pod: a pod has one of each family for each of its networks.
const MAX_ADDRESSES: usize = 32;

/// The transport protocol of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// A connect.
    Tcp,
    /// A datagram.
    Udp,
}

impl Transport {
    /// The name of the call in the trace.
    pub(crate) fn call(self) -> &'static str {
        match self {
            Self::Tcp => "connect",
            Self::Udp => "datagram",
        }
    }
}

/// The pod, and the stand-ins for its addresses.
pub(crate) struct Pod {
    addresses: Vec<IpAddr>,
    stand_ins: SessionAddresses,
    shared_with: Option<Rc<SessionListeners>>,
}

impl Pod {
    /// A pod with these addresses. If the agent shares its network with other servers, `shared_with` finds the
    /// session's own listeners, and only these are reached by stand-ins.
    pub(crate) fn new(
        addresses: impl Iterator<Item = IpAddr>,
        stand_ins: SessionAddresses,
        shared_with: Option<Rc<SessionListeners>>,
    ) -> Self {
        let is_its_own = |address: &IpAddr| match address {
            IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
            IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
        };
        Self {
            addresses: addresses.filter(is_its_own).take(MAX_ADDRESSES).collect(),
            stand_ins,
            shared_with,
        }
    }

    /// The stand-in on loopback for this address, if it is the pod's own and not this machine's.
    pub(super) fn stand_in(
        &self,
        address: SocketAddr,
        is_of_this_machine: impl FnOnce() -> bool,
    ) -> Option<SocketAddr> {
        let ip = address.ip().to_canonical();
        let is_own = self.addresses.contains(&ip) && !(self.shared_with.is_some() && is_of_this_machine());
        is_own.then(|| {
            let stand_in = match ip {
                IpAddr::V4(_) => self.stand_ins.pod_v4,
                IpAddr::V6(_) => self.stand_ins.pod_v6,
            };
            SocketAddr::new(stand_in.into(), address.port())
        })
    }

    /// The pod's address of which this one is the stand-in on loopback.
    pub(super) fn address(&self, stand_in: SocketAddr) -> Option<SocketAddr> {
        let IpAddr::V4(ip) = stand_in.ip().to_canonical() else {
            return None;
        };
        let family: IpAddr = match ip {
            _ if ip == self.stand_ins.pod_v4 => Ipv4Addr::UNSPECIFIED.into(),
            _ if ip == self.stand_ins.pod_v6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let mut addresses = self.addresses.iter();
        let own = addresses.find(|address| address.is_ipv4() == family.is_ipv4())?;
        Some(SocketAddr::new(*own, stand_in.port()))
    }

    /// Whether the session is reached at this stand-in.
    pub(super) fn is_reached_here(&self, stand_in: SocketAddr, transport: Transport) -> bool {
        let shared_with = self.shared_with.as_ref();
        shared_with.is_none_or(|listeners| listeners.receive(stand_in, transport))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn pod(shared_with: Option<Rc<SessionListeners>>) -> Pod {
        let addresses = ["127.0.0.1", "::1", "10.244.0.5", "fe80::5", "fd00::5"];
        let addresses = addresses.into_iter().map(|address| address.parse().unwrap());
        Pod::new(addresses, SessionAddresses::of(0x0102_0304), shared_with)
    }

    #[test]
    fn pod_address_maps_to_a_stand_in_of_its_family_and_back() {
        for (own, stand_in) in [
            ("10.244.0.5:80", "127.106.3.4:80"),
            ("[::ffff:10.244.0.5]:80", "127.106.3.4:80"),
            ("[fd00::5]:80", "127.105.3.4:80"),
        ] {
            let own: SocketAddr = own.parse().unwrap();
            let found = pod(None).stand_in(own, || unreachable!()).unwrap();
            assert_eq!(found, stand_in.parse().unwrap());
            let back = pod(None).address(found).unwrap();
            assert_eq!(back, SocketAddr::new(own.ip().to_canonical(), 80));
        }
        for other in ["127.0.0.1:80", "[::1]:80", "10.244.0.6:80", "[fe80::5]:80"] {
            assert_eq!(
                pod(None).stand_in(other.parse().unwrap(), || false),
                None,
                "{other}"
            );
        }
        // the stand-in of another session
        assert_eq!(pod(None).address("127.106.3.5:80".parse().unwrap()), None);
    }

    #[test]
    fn shared_agent_address_of_this_machine_has_no_stand_in() {
        let own: SocketAddr = "10.244.0.5:80".parse().unwrap();
        let shared = pod(Some(Rc::new(SessionListeners::of(
            "a:b:c",
            Path::new("/no/such/library"),
        ))));
        assert_eq!(shared.stand_in(own, || true), None);
        assert!(shared.stand_in(own, || false).is_some());
        assert!(pod(None).stand_in(own, || true).is_some());
    }
}
