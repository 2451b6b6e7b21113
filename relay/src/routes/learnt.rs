//! What name servers have told of addresses.

use kinject_protocol::rules::Way;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// How many addresses are remembered; the oldest goes first.
const MOST: usize = 4096;

/// Addresses that local name servers gave, and the names of addresses where they are wanted.
#[derive(Default)]
pub(super) struct Learnt {
    known: HashMap<IpAddr, Known>,
    oldest_first: VecDeque<IpAddr>,
}

struct Known {
    from: Way,
    name: Option<String>,
}

impl Learnt {
    /// The latest answer for an address counts.
    pub(super) fn learn(&mut self, address: IpAddr, from: Way, name: Option<&str>) {
        // an address of the cluster goes there anyway
        if from == Way::Remote && name.is_none() {
            if self.known.remove(&address).is_some() {
                self.oldest_first.retain(|other| *other != address);
            }
            return;
        }
        let known = Known {
            from,
            name: name.map(str::to_owned),
        };
        if self.known.insert(address, known).is_none() {
            self.oldest_first.push_back(address);
        }
        if self.oldest_first.len() > MOST
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn is_local(&self, address: IpAddr) -> bool {
        self.known
            .get(&address)
            .is_some_and(|known| known.from == Way::Local)
    }

    /// The name that it was last found for.
    pub(super) fn name(&self, address: IpAddr) -> Option<&str> {
        self.known.get(&address)?.name.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_address_is_forgotten_first() {
        let mut learnt = Learnt::default();
        let address = |index: u32| IpAddr::V4(index.into());
        for index in 0..=MOST as u32 {
            learnt.learn(address(index), Way::Local, None);
        }
        assert!(!learnt.is_local(address(0)));
        assert!(learnt.is_local(address(MOST as u32)));
        learnt.learn(address(MOST as u32), Way::Remote, None);
        assert!(!learnt.is_local(address(MOST as u32)));
        assert_eq!(learnt.known.len(), learnt.oldest_first.len());
    }
}
