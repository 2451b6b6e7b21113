//! What name servers have told of addresses.

use kinject_protocol::rules::Egress;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// How many addresses of local answers are remembered; the oldest goes first.
const MOST_LOCAL: usize = 4096;

/// How many addresses of the cluster's answers are. They are apart from the others, so that no number of local answers can
/// make a session forget whose an address is.
const MOST_REMOTE: usize = 16_384;

/// Addresses that name servers gave, and their names where they are wanted.
pub(super) struct LearnedAddresses {
    local: Recent,
    remote: Recent,
}

impl Default for LearnedAddresses {
    fn default() -> Self {
        Self {
            local: Recent::of(MOST_LOCAL),
            remote: Recent::of(MOST_REMOTE),
        }
    }
}

impl LearnedAddresses {
    /// What the cluster gives is the cluster's, whoever gave it before, and stays so. The latest name counts.
    pub(super) fn learn(&mut self, address: IpAddr, from: Egress, name: Option<&str>) {
        if from == Egress::Remote {
            self.local.forget(address);
            self.remote.remember(address, name);
        } else if self.remote.knows(address) {
            self.remote.remember(address, name);
        } else {
            self.local.remember(address, name);
        }
    }

    pub(super) fn is_local(&self, address: IpAddr) -> bool {
        self.local.knows(address)
    }

    pub(super) fn is_remote(&self, address: IpAddr) -> bool {
        self.remote.knows(address)
    }

    /// The name that it was last found for.
    pub(super) fn name(&self, address: IpAddr) -> Option<&str> {
        self.remote.name(address).or_else(|| self.local.name(address))
    }
}

/// A number of addresses, those that were told latest.
struct Recent {
    known: HashMap<IpAddr, Known>,
    /// Each telling with its number; only an address's latest one counts.
    oldest_first: VecDeque<(u64, IpAddr)>,
    tellings: u64,
    most: usize,
}

struct Known {
    telling: u64,
    name: Option<String>,
}

impl Recent {
    fn of(most: usize) -> Self {
        Self {
            known: HashMap::new(),
            oldest_first: VecDeque::new(),
            tellings: 0,
            most,
        }
    }

    fn remember(&mut self, address: IpAddr, name: Option<&str>) {
        self.tellings = self.tellings.wrapping_add(1);
        let known = Known {
            telling: self.tellings,
            name: name.map(str::to_owned),
        };
        self.known.insert(address, known);
        self.oldest_first.push_back((self.tellings, address));
        while self.known.len() > self.most
            && let Some((telling, oldest)) = self.oldest_first.pop_front()
        {
            if self.is_latest(telling, oldest) {
                self.known.remove(&oldest);
            }
        }
        if self.oldest_first.len() > 2 * self.most {
            let mut all = std::mem::take(&mut self.oldest_first);
            all.retain(|(telling, address)| self.is_latest(*telling, *address));
            self.oldest_first = all;
        }
    }

    fn is_latest(&self, telling: u64, address: IpAddr) -> bool {
        self.known
            .get(&address)
            .is_some_and(|known| known.telling == telling)
    }

    fn forget(&mut self, address: IpAddr) {
        self.known.remove(&address);
    }

    fn knows(&self, address: IpAddr) -> bool {
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
        for index in 0..=MOST_LOCAL {
            learned.learn(address(index), Egress::Local, None);
        }
        assert!(!learned.is_local(address(0)));
        assert!(learned.is_local(address(MOST_LOCAL)));
        learned.learn(address(MOST_LOCAL), Egress::Remote, None);
        assert!(!learned.is_local(address(MOST_LOCAL)));
    }

    #[test]
    fn relearned_address_is_kept_and_counts_once() {
        let mut learned = LearnedAddresses::default();
        for index in 1..4 * MOST_LOCAL {
            learned.learn(address(0), Egress::Local, None);
            learned.learn(address(index), Egress::Local, None);
        }
        assert!(learned.is_local(address(0)));
        assert_eq!(learned.local.known.len(), MOST_LOCAL);
        assert!(learned.local.oldest_first.len() <= 2 * MOST_LOCAL + 1);
    }

    #[test]
    fn local_answers_never_evict_an_address_of_the_cluster() {
        let mut learned = LearnedAddresses::default();
        let services = 1_000_000;
        learned.learn(address(services), Egress::Remote, None);
        for index in 0..2 * MOST_REMOTE {
            learned.learn(address(index), Egress::Local, Some("evil.test"));
        }
        learned.learn(address(services), Egress::Local, Some("evil.test"));
        assert!(learned.is_remote(address(services)) && !learned.is_local(address(services)));
        // a rule about the name may still say otherwise
        assert_eq!(learned.name(address(services)), Some("evil.test"));
    }
}
