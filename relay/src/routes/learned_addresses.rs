//! The addresses that name servers have returned.

use kinject_protocol::rules::Egress;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Maximum number of addresses of local answers; the oldest is dropped first.
const MAX_LOCAL: usize = 4096;

/// Maximum number of addresses of the cluster's answers. They are stored apart, so that local answers cannot evict
/// them.
const MAX_REMOTE: usize = 16_384;

/// The addresses that name servers have returned, and their names if they are needed.
pub(super) struct LearnedAddresses {
    local: Recent,
    remote: Recent,
}

impl Default for LearnedAddresses {
    fn default() -> Self {
        Self {
            local: Recent::of(MAX_LOCAL),
            remote: Recent::of(MAX_REMOTE),
        }
    }
}

impl LearnedAddresses {
    /// Records an address. One that the cluster has returned stays the cluster's, also if a local answer has it. The
    /// latest name is kept.
    pub(super) fn learn(&mut self, address: IpAddr, from: Egress, name: Option<&str>) {
        if from == Egress::Remote {
            self.local.forget(address);
            self.remote.remember(address, name);
        } else if self.remote.contains(address) {
            self.remote.remember(address, name);
        } else {
            self.local.remember(address, name);
        }
    }

    pub(super) fn is_local(&self, address: IpAddr) -> bool {
        self.local.contains(address)
    }

    pub(super) fn is_remote(&self, address: IpAddr) -> bool {
        self.remote.contains(address)
    }

    /// The name for which it was last returned.
    pub(super) fn name(&self, address: IpAddr) -> Option<&str> {
        self.remote.name(address).or_else(|| self.local.name(address))
    }
}

/// A bounded number of addresses, the most recently recorded ones.
struct Recent {
    known: HashMap<IpAddr, Known>,
    /// Each recording with its number; only the latest one of an address is valid.
    oldest_first: VecDeque<(u64, IpAddr)>,
    recordings: u64,
    max: usize,
}

struct Known {
    number: u64,
    name: Option<String>,
}

impl Recent {
    fn of(max: usize) -> Self {
        Self {
            known: HashMap::new(),
            oldest_first: VecDeque::new(),
            recordings: 0,
            max,
        }
    }

    fn remember(&mut self, address: IpAddr, name: Option<&str>) {
        self.recordings = self.recordings.wrapping_add(1);
        let known = Known {
            number: self.recordings,
            name: name.map(str::to_owned),
        };
        self.known.insert(address, known);
        self.oldest_first.push_back((self.recordings, address));
        while self.known.len() > self.max
            && let Some((number, oldest)) = self.oldest_first.pop_front()
        {
            if self.is_latest(number, oldest) {
                self.known.remove(&oldest);
            }
        }
        if self.oldest_first.len() > 2 * self.max {
            let mut all = std::mem::take(&mut self.oldest_first);
            all.retain(|(number, address)| self.is_latest(*number, *address));
            self.oldest_first = all;
        }
    }

    fn is_latest(&self, number: u64, address: IpAddr) -> bool {
        self.known
            .get(&address)
            .is_some_and(|known| known.number == number)
    }

    fn forget(&mut self, address: IpAddr) {
        self.known.remove(&address);
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.known.contains_key(&address)
    }

    fn name(&self, address: IpAddr) -> Option<&str> {
        self.known.get(&address)?.name.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(index: usize) -> IpAddr {
        IpAddr::V4((index as u32).into())
    }

    #[test]
    fn oldest_address_is_forgotten_first() {
        let mut learned = LearnedAddresses::default();
        for index in 0..=MAX_LOCAL {
            learned.learn(address(index), Egress::Local, None);
        }
        assert!(!learned.is_local(address(0)));
        assert!(learned.is_local(address(MAX_LOCAL)));
        learned.learn(address(MAX_LOCAL), Egress::Remote, None);
        assert!(!learned.is_local(address(MAX_LOCAL)));
    }

    #[test]
    fn relearned_address_is_kept_and_counts_once() {
        let mut learned = LearnedAddresses::default();
        for index in 1..4 * MAX_LOCAL {
            learned.learn(address(0), Egress::Local, None);
            learned.learn(address(index), Egress::Local, None);
        }
        assert!(learned.is_local(address(0)));
        assert_eq!(learned.local.known.len(), MAX_LOCAL);
        assert!(learned.local.oldest_first.len() <= 2 * MAX_LOCAL + 1);
    }

    #[test]
    fn local_answers_never_evict_an_address_of_the_cluster() {
        let mut learned = LearnedAddresses::default();
        let services = 1_000_000;
        learned.learn(address(services), Egress::Remote, None);
        for index in 0..2 * MAX_REMOTE {
            learned.learn(address(index), Egress::Local, Some("evil.test"));
        }
        learned.learn(address(services), Egress::Local, Some("evil.test"));
        assert!(learned.is_remote(address(services)) && !learned.is_local(address(services)));
        // a rule about the name may still say otherwise
        assert_eq!(learned.name(address(services)), Some("evil.test"));
    }
}
