//! Those at one listener who have not proven that they hold the session's key.
//!
//! Anyone who reaches a listener can open connections there and say nothing. Each takes a place until it has proven itself or
//! its time is up, and places are bounded, for each source and for the listener. A newcomer is always let in: where there
//! is no place left, the oldest connection of those that hold most gives way. So a stranger displaces strangers, and a relay
//! has the time in which as many newcomers arrive as there are places; a proof takes a few milliseconds. Where that is not
//! enough, the relay tries again.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use kinject_tunnel::transport::Peer;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Places at a listener.
pub(crate) const PLACES: usize = 512;
/// Places for one source.
pub(crate) const PLACES_OF_A_SOURCE: usize = 128;

/// Who counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// Everybody on this machine, and through port-forward everybody at all: loopback does not tell them apart.
    Loopback,
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// The first half of an IPv6 address: a host usually may choose the other one.
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
    /// Places it may hold.
    fn most(self) -> usize {
        match self {
            // the relay may be one of them, and often nobody else can come
            Source::Loopback | Source::User(_) => PLACES,
            Source::V4(_) | Source::V6(_) => PLACES_OF_A_SOURCE,
        }
    }
}

/// The places of a listener.
#[derive(Clone, Default)]
pub(crate) struct Unproven(Arc<Mutex<Places>>);

#[derive(Default)]
struct Places {
    /// Those of each source that has any, oldest first.
    taken: HashMap<Source, VecDeque<Taken>>,
    count: usize,
    /// The number of the next connection.
    next: u64,
}

struct Taken {
    number: u64,
    /// Its end tells the connection to give way.
    _stay: oneshot::Sender<Infallible>,
}

/// The place of one connection, given back when it is dropped.
pub(crate) struct Place {
    all: Unproven,
    source: Source,
    number: u64,
    gives_way: oneshot::Receiver<Infallible>,
}

impl Unproven {
    /// A place for a newcomer, and whether somebody gave way to it.
    pub(crate) fn enter(&self, source: Source) -> (Place, bool) {
        let mut places = self.0.lock();
        let own = places.taken.get(&source).map_or(0, VecDeque::len);
        let displaced = match (own >= source.most(), places.count >= PLACES) {
            (true, _) => Some(source),
            (false, true) => places.heaviest(),
            (false, false) => None,
        };
        if let Some(source) = displaced {
            places.displace_oldest(source);
        }
        let number = places.next;
        places.next += 1;
        places.count += 1;
        let (stay, gives_way) = oneshot::channel();
        let taken = Taken { number, _stay: stay };
        places.taken.entry(source).or_default().push_back(taken);
        let place = Place {
            all: self.clone(),
            source,
            number,
            gives_way,
        };
        (place, displaced.is_some())
    }
}

impl Places {
    /// The source that holds most; of several the one that has held a place for longest.
    fn heaviest(&self) -> Option<Source> {
        let oldest = |taken: &VecDeque<Taken>| taken.front().map(|taken| taken.number);
        let heaviest = self
            .taken
            .iter()
            .max_by_key(|(_, taken)| (taken.len(), std::cmp::Reverse(oldest(taken))));
        heaviest.map(|(source, _)| *source)
    }

    fn displace_oldest(&mut self, source: Source) {
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

impl Place {
    /// Waits until the place is somebody else's. Cancel-safe.
    pub(crate) async fn is_lost(&mut self) {
        let _never = (&mut self.gives_way).await;
    }
}

impl Drop for Place {
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

    fn is_lost(place: &mut Place) -> bool {
        match place.gives_way.try_recv() {
            Err(TryRecvError::Closed) => true,
            Err(TryRecvError::Empty) => false,
            Ok(never) => match never {},
        }
    }

    /// So many newcomers, oldest first.
    fn fill(unproven: &Unproven, source: Source, count: usize) -> Vec<Place> {
        (0..count).map(|_| unproven.enter(source).0).collect()
    }

    #[test]
    fn an_address_counts_as_one_source_however_it_is_written() {
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
    fn a_source_that_holds_all_it_may_displaces_its_own_oldest_and_nobody_else() {
        let unproven = Unproven::default();
        let mut relay = unproven.enter(source("10.0.0.1")).0;
        let mut strangers = fill(&unproven, source("10.0.0.2"), PLACES_OF_A_SOURCE);
        let (mut newcomer, has_displaced) = unproven.enter(source("10.0.0.2"));
        assert!(has_displaced);
        assert!(is_lost(&mut strangers[0]));
        assert!(!strangers[1..].iter_mut().any(is_lost));
        assert!(!is_lost(&mut relay) && !is_lost(&mut newcomer));
    }

    #[test]
    fn where_all_places_are_taken_the_oldest_of_the_heaviest_source_gives_way() {
        let unproven = Unproven::default();
        let mut relay = unproven.enter(source("10.0.1.1")).0;
        let mut light = fill(&unproven, source("10.0.0.1"), PLACES_OF_A_SOURCE - 1);
        let mut heavy: Vec<Place> = (2..5)
            .flat_map(|host| fill(&unproven, source(&format!("10.0.0.{host}")), PLACES_OF_A_SOURCE))
            .collect();
        assert!(unproven.enter(source("10.0.2.1")).1);
        assert!(is_lost(&mut heavy[0]));
        assert!(!heavy[1..].iter_mut().any(is_lost));
        assert!(!is_lost(&mut relay) && !light.iter_mut().any(is_lost));
    }

    #[test]
    fn of_sources_that_hold_one_place_each_the_oldest_gives_way() {
        let unproven = Unproven::default();
        let place = |n: usize| unproven.enter(source(&format!("[2001:db8:{n:x}::1]"))).0;
        let mut places: Vec<Place> = (0..PLACES).map(place).collect();
        let mut newcomer = place(PLACES);
        assert!(is_lost(&mut places[0]));
        assert!(!places[1..].iter_mut().any(is_lost) && !is_lost(&mut newcomer));
    }

    #[test]
    fn loopback_may_hold_every_place_and_one_from_elsewhere_is_still_let_in() {
        let unproven = Unproven::default();
        let mut strangers = fill(&unproven, Source::Loopback, PLACES);
        assert!(!strangers.iter_mut().any(is_lost));
        let (mut relay, has_displaced) = unproven.enter(source("10.0.0.1"));
        assert!(has_displaced && is_lost(&mut strangers[0]));
        let _more = fill(&unproven, Source::Loopback, PLACES);
        assert!(!is_lost(&mut relay));
    }

    #[test]
    fn a_place_that_is_given_back_is_free_and_leaves_nothing() {
        let unproven = Unproven::default();
        for _ in 0..3 {
            let places = fill(&unproven, source("10.0.0.1"), PLACES_OF_A_SOURCE);
            assert!(!unproven.enter(source("10.0.0.2")).1);
            drop(places);
        }
        // a place that was lost is not given back twice
        let places = fill(&unproven, source("10.0.0.1"), PLACES_OF_A_SOURCE + 1);
        drop(places);
        let left = unproven.0.lock();
        assert!(left.taken.is_empty() && left.count == 0);
    }
}
