//! Which way a target goes: through the cluster or over the local network.
//!
//! Loopback never comes here, the preloaded library keeps it local. Everything else goes through the cluster, but for
//! addresses that were learnt from a local answer: a connection follows its name.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;

/// How many locally learnt addresses are remembered; the oldest goes first.
const MAX_LOCAL: usize = 4096;

/// The session's routes.
#[derive(Default)]
pub(crate) struct Routes(parking_lot::Mutex<Learnt>);

#[derive(Default)]
struct Learnt {
    local: HashSet<IpAddr>,
    oldest_first: VecDeque<IpAddr>,
}

impl Routes {
    /// Whether connections to this address go over the local network.
    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        self.0.lock().local.contains(&address)
    }

    /// A local name server gave these addresses for a name that the cluster does not have.
    pub(crate) fn learnt_locally(&self, addresses: &[IpAddr]) {
        let mut learnt = self.0.lock();
        for address in addresses {
            if learnt.local.insert(*address) {
                learnt.oldest_first.push_back(*address);
            }
            if learnt.oldest_first.len() > MAX_LOCAL
                && let Some(oldest) = learnt.oldest_first.pop_front()
            {
                learnt.local.remove(&oldest);
            }
        }
    }

    /// The cluster gave these addresses: from here on they are the cluster's.
    pub(crate) fn learnt_from_cluster(&self, addresses: &[IpAddr]) {
        let mut learnt = self.0.lock();
        for address in addresses {
            if learnt.local.remove(address) {
                learnt.oldest_first.retain(|other| other != address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_follows_the_latest_answer_for_its_address() {
        let routes = Routes::default();
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        assert!(!routes.is_local(address));
        routes.learnt_locally(&[address]);
        assert!(routes.is_local(address));
        routes.learnt_from_cluster(&[address]);
        assert!(!routes.is_local(address));
    }

    #[test]
    fn the_oldest_local_address_is_forgotten_first() {
        let routes = Routes::default();
        let address = |index: u32| IpAddr::V4(index.into());
        for index in 0..=MAX_LOCAL as u32 {
            routes.learnt_locally(&[address(index)]);
        }
        assert!(!routes.is_local(address(0)));
        assert!(routes.is_local(address(MAX_LOCAL as u32)));
    }
}
