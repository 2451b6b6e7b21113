//! The connections at one listener that have not yet proven that they hold the session's key.
//!
//! Any host that reaches a listener can open connections there and send nothing. Each takes a slot until it has proven
//! itself or timed out, and slots are bounded, for each source and for the listener. A new connection is always
//! accepted: if no slot is free, the oldest connection of the source with the most slots is evicted. So unproven
//! connections evict each other, and a relay has the time in which as many new connections arrive as there are slots; a
//! proof takes a few milliseconds. If it is evicted all the same, the relay tries again.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use kinject_tunnel::transport::Peer;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Slots at a listener.
pub(crate) const SLOTS: usize = 512;
/// Slots for one source.
pub(crate) const SLOTS_PER_SOURCE: usize = 128;

/// The source of a connection, for the limit of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// All processes of this machine, and all users of port-forward: their connections come from loopback alike.
    Loopback,
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address: a host usually may choose the others.
    V6([u16; 4]),
    /// A user of this machine, at a Unix socket.
    User(u32),
}

impl From<&Peer> for Source {
    fn from(peer: &Peer) -> Self {
        let address = match peer {
            Peer::Local { uid } => return Source::User(*uid),
            Peer::Remote(address) => address.ip().to_canonical(),
        };
        match address {
            address if address.is_loopback() => Source::Loopback,
            IpAddr::V4(address) => Source::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Source::V6([a, b, c, d])
            }
        }
    }
}

impl Source {
    /// Slots it may hold.
    fn limit(self) -> usize {
        match self {
            // the relay may be one of them, and is often the only possible peer
            Source::Loopback | Source::User(_) => SLOTS,
            Source::V4(_) | Source::V6(_) => SLOTS_PER_SOURCE,
        }
    }
}

/// The slots of a listener.
#[derive(Clone, Default)]
pub(crate) struct Unproven(Arc<Mutex<Slots>>);

#[derive(Default)]
struct Slots {
    /// The slots of each source that has any, oldest first.
    taken: HashMap<Source, VecDeque<Taken>>,
    count: usize,
    /// The number of the next connection.
    next: u64,
}

struct Taken {
    number: u64,
    /// Dropping it evicts the connection.
    _keep_alive: oneshot::Sender<Infallible>,
}

/// The slot of one connection, given back when it is dropped.
pub(crate) struct Slot {
    all: Unproven,
    source: Source,
    number: u64,
    eviction: oneshot::Receiver<Infallible>,
}

impl Unproven {
    /// Takes a slot for a new connection; returns whether another one was evicted for it.
    pub(crate) fn enter(&self, source: Source) -> (Slot, bool) {
        let mut slots = self.0.lock();
        let own = slots.taken.get(&source).map_or(0, VecDeque::len);
        let evicted = match (own >= source.limit(), slots.count >= SLOTS) {
            (true, _) => Some(source),
            (false, true) => slots.heaviest(),
            (false, false) => None,
        };
        if let Some(source) = evicted {
            slots.evict_oldest(source);
        }
        let number = slots.next;
        slots.next += 1;
        slots.count += 1;
        let (keep_alive, eviction) = oneshot::channel();
        let taken = Taken {
            number,
            _keep_alive: keep_alive,
        };
        slots.taken.entry(source).or_default().push_back(taken);
        let slot = Slot {
            all: self.clone(),
            source,
            number,
            eviction,
        };
        (slot, evicted.is_some())
    }
}

impl Slots {
    /// The source with the most slots; of several, the one with the oldest connection.
    fn heaviest(&self) -> Option<Source> {
        let oldest = |taken: &VecDeque<Taken>| taken.front().map(|taken| taken.number);
        let heaviest = self
            .taken
            .iter()
            .max_by_key(|(_, taken)| (taken.len(), std::cmp::Reverse(oldest(taken))));
        heaviest.map(|(source, _)| *source)
    }

    fn evict_oldest(&mut self, source: Source) {
        if let Some(oldest) = self.taken.get(&source).and_then(VecDeque::front) {
            self.remove(source, oldest.number);
        }
    }

    fn remove(&mut self, source: Source, number: u64) {
        let Some(taken) = self.taken.get_mut(&source) else {
            return;
        };
        if let Ok(at) = taken.binary_search_by_key(&number, |taken| taken.number) {
            taken.remove(at);
            self.count -= 1;
        }
        if taken.is_empty() {
            self.taken.remove(&source);
        }
    }
}

impl Slot {
    /// Waits until the connection is evicted. Cancel-safe.
    pub(crate) async fn evicted(&mut self) {
        let _never = (&mut self.eviction).await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.all.0.lock().remove(self.source, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot::error::TryRecvError;

    fn source(address: &str) -> Source {
        Source::from(&Peer::Remote(format!("{address}:1").parse().unwrap()))
    }

    fn evicted(slot: &mut Slot) -> bool {
        match slot.eviction.try_recv() {
            Err(TryRecvError::Closed) => true,
            Err(TryRecvError::Empty) => false,
            Ok(never) => match never {},
        }
    }

    /// Takes so many slots; the oldest first.
    fn fill(unproven: &Unproven, source: Source, count: usize) -> Vec<Slot> {
        (0..count).map(|_| unproven.enter(source).0).collect()
    }

    #[test]
    fn mapped_address_and_ipv6_prefix_count_as_one_source() {
        assert_eq!(source("10.0.0.7"), source("[::ffff:10.0.0.7]"));
        assert_ne!(source("10.0.0.7"), source("10.0.0.8"));
        assert_eq!(source("[2001:db8::1]"), source("[2001:db8::ffff:0:0:1]"));
        assert_ne!(source("[2001:db8::1]"), source("[2001:db8:0:1::1]"));
        for loopback in ["127.0.0.1", "127.3.2.1", "[::1]", "[::ffff:127.0.0.1]"] {
            assert_eq!(source(loopback), Source::Loopback, "{loopback}");
        }
        assert_eq!(Source::from(&Peer::Local { uid: 7 }), Source::User(7));
    }

    #[test]
    fn source_at_its_limit_evicts_its_own_oldest_connection() {
        let unproven = Unproven::default();
        let mut relay = unproven.enter(source("10.0.0.1")).0;
        let mut connections = fill(&unproven, source("10.0.0.2"), SLOTS_PER_SOURCE);
        let (mut new_connection, has_evicted) = unproven.enter(source("10.0.0.2"));
        assert!(has_evicted);
        assert!(evicted(&mut connections[0]));
        assert!(!connections[1..].iter_mut().any(evicted));
        assert!(!evicted(&mut relay) && !evicted(&mut new_connection));
    }

    #[test]
    fn full_listener_evicts_the_oldest_connection_of_the_heaviest_source() {
        let unproven = Unproven::default();
        let mut relay = unproven.enter(source("10.0.1.1")).0;
        let mut light = fill(&unproven, source("10.0.0.1"), SLOTS_PER_SOURCE - 1);
        let mut heavy: Vec<Slot> = (2..5)
            .flat_map(|host| fill(&unproven, source(&format!("10.0.0.{host}")), SLOTS_PER_SOURCE))
            .collect();
        assert!(unproven.enter(source("10.0.2.1")).1);
        assert!(evicted(&mut heavy[0]));
        assert!(!heavy[1..].iter_mut().any(evicted));
        assert!(!evicted(&mut relay) && !light.iter_mut().any(evicted));
    }

    #[test]
    fn full_listener_evicts_the_oldest_source_where_each_holds_one_slot() {
        let unproven = Unproven::default();
        let slot = |n: usize| unproven.enter(source(&format!("[2001:db8:{n:x}::1]"))).0;
        let mut slots: Vec<Slot> = (0..SLOTS).map(slot).collect();
        let mut new_connection = slot(SLOTS);
        assert!(evicted(&mut slots[0]));
        assert!(!slots[1..].iter_mut().any(evicted) && !evicted(&mut new_connection));
    }

    #[test]
    fn loopback_may_hold_every_slot_and_other_sources_still_enter() {
        let unproven = Unproven::default();
        let mut connections = fill(&unproven, Source::Loopback, SLOTS);
        assert!(!connections.iter_mut().any(evicted));
        let (mut relay, has_evicted) = unproven.enter(source("10.0.0.1"));
        assert!(has_evicted && evicted(&mut connections[0]));
        let _more = fill(&unproven, Source::Loopback, SLOTS);
        assert!(!evicted(&mut relay));
    }

    #[test]
    fn dropped_slot_is_freed_once() {
        let unproven = Unproven::default();
        for _ in 0..3 {
            let slots = fill(&unproven, source("10.0.0.1"), SLOTS_PER_SOURCE);
            assert!(!unproven.enter(source("10.0.0.2")).1);
            drop(slots);
        }
        // the slot of an evicted connection is not freed twice
        let slots = fill(&unproven, source("10.0.0.1"), SLOTS_PER_SOURCE + 1);
        drop(slots);
        let left = unproven.0.lock();
        assert!(left.taken.is_empty() && left.count == 0);
    }
}
