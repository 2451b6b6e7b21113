//! A cache of the relay's answers: to which address on loopback a socket's datagrams go, and whose datagrams come
//! from there.
//!
//! It is two hash tables without chains: a newer entry overwrites an older one in the same slot. Each slot is a
//! sequence lock: its version is odd while it is written and different afterwards, so that a reader detects a torn
//! read. Nobody waits: a reader that finds a slot being written asks the relay instead. A slot that was being written
//! during a fork(2) stays unused in the child.
//!
//! Entries expire before the relay reuses the address in them, and a socket's cookie never names another socket. So a
//! stale entry can lose a datagram, and do no more.

use crate::sys;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::sync::atomic::{AtomicU64, Ordering, fence};
use libc::timespec;
use once_cell::race::OnceRef;

/// A power of two.
const SLOTS: usize = 256;

/// The lifetime of an entry, in seconds.
const LIFETIME: u64 = 60;

/// The same of an entry that says "over the local network": a later answer of the cluster may change that.
const LOCAL_LIFETIME: u64 = 1;

/// Where the relay said that datagrams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CachedRoute {
    /// To this address on loopback, in the socket's family.
    Flow(SocketAddr),
    /// Over the local network.
    Local,
}

/// Whose the relay said that an address on loopback is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It stands for this target.
    Target(SocketAddr),
    /// It does not belong to the session.
    NotSession,
}

#[repr(align(64))]
struct Slot {
    version: AtomicU64,
    words: [AtomicU64; WORDS],
}

/// Cookie, three words of an address, two of another, the time.
const WORDS: usize = 7;

type Entry = [u64; WORDS];

/// Both tables. All zeros are empty tables.
struct Tables {
    routes: [Slot; SLOTS],
    origins: [Slot; SLOTS],
}

/// Mapped for the first entry: a static of that size would cost every exec a mapping.
static TABLES: OnceRef<'static, Tables> = OnceRef::new();

/// The tables, mapped at the first call; none if there is no memory for them.
fn tables() -> Option<&'static Tables> {
    TABLES.get().or_else(map_tables)
}

#[cold]
fn map_tables() -> Option<&'static Tables> {
    let memory = sys::map_memory(size_of::<Tables>()).ok()?;
    // SAFETY: fresh memory of that size, at the start of a page, is all zeros and stays
    let set = TABLES.set(unsafe { &*memory.cast::<Tables>() });
    if set.is_err() {
        // SAFETY: another thread set its tables first, and no thread has these
        unsafe { sys::unmap_memory(memory, size_of::<Tables>()) };
    }
    TABLES.get()
}

impl Slot {
    fn read(&self) -> Option<Entry> {
        let before = self.version.load(Ordering::Acquire);
        let mut entry = [0; WORDS];
        for (copy, word) in entry.iter_mut().zip(&self.words) {
            *copy = word.load(Ordering::Relaxed);
        }
        fence(Ordering::Acquire);
        let is_consistent = before & 1 == 0 && self.version.load(Ordering::Relaxed) == before;
        is_consistent.then_some(entry)
    }

    fn write(&self, entry: &Entry) {
        let before = self.version.load(Ordering::Relaxed);
        let begun = before.wrapping_add(1);
        let is_free = before & 1 == 0
            && self
                .version
                .compare_exchange(before, begun, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        if !is_free {
            return;
        }
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(entry) {
            word.store(*value, Ordering::Relaxed);
        }
        self.version.store(begun.wrapping_add(1), Ordering::Release);
    }
}

/// Where datagrams of the socket to `target` go.
pub(super) fn route(cookie: u64, target: SocketAddr) -> Option<CachedRoute> {
    let key = address_words(target);
    let [owner, high, low, port, address, kind, since] = slot(&TABLES.get()?.routes, cookie, key)?.read()?;
    if owner != cookie || [high, low, port] != key {
        return None;
    }
    match kind {
        LOCAL if is_recent(since, LOCAL_LIFETIME) => Some(CachedRoute::Local),
        V4 | MAPPED | V6 if is_recent(since, LIFETIME) => {
            Some(CachedRoute::Flow(flow_address(address, kind)))
        }
        _ => None,
    }
}

/// Whose datagrams come to the socket from an address on loopback.
pub(super) fn origin(cookie: u64, address: SocketAddr) -> Option<Origin> {
    let key = address_words(address);
    let (word, _) = flow_word(address);
    let entry = slot(&TABLES.get()?.origins, cookie, key)?.read()?;
    let [owner, high, low, port, from, kind, since] = entry;
    if owner != cookie || from != word || !is_recent(since, LIFETIME) {
        return None;
    }
    match kind {
        NOT_SESSION => Some(Origin::NotSession),
        V4 | MAPPED | V6 => Some(Origin::Target(address_of([high, low, port]))),
        _ => None,
    }
}

/// Remembers that `flow` stands for `target`.
pub(super) fn remember_flow(cookie: u64, target: SocketAddr, flow: SocketAddr) {
    let [high, low, port] = address_words(target);
    let (address, kind) = flow_word(flow);
    let entry = [cookie, high, low, port, address, kind, now()];
    put(|tables| &tables.routes, cookie, [high, low, port], &entry);
    put(|tables| &tables.origins, cookie, address_words(flow), &entry);
}

/// Remembers that the target is local.
pub(super) fn remember_local(cookie: u64, target: SocketAddr) {
    let [high, low, port] = address_words(target);
    put(
        |tables| &tables.routes,
        cookie,
        [high, low, port],
        &[cookie, high, low, port, 0, LOCAL, now()],
    );
}

/// Remembers that this address on loopback does not belong to the session.
pub(super) fn remember_not_session(cookie: u64, address: SocketAddr) {
    let (word, _) = flow_word(address);
    let entry = [cookie, 0, 0, 0, word, NOT_SESSION, now()];
    put(|tables| &tables.origins, cookie, address_words(address), &entry);
}

/// Forgets what is known of a socket, which may get another port.
pub(super) fn forget(cookie: u64) {
    let Some(tables) = TABLES.get() else {
        return;
    };
    for slot in tables.routes.iter().chain(&tables.origins) {
        if slot.read().is_some_and(|[owner, ..]| owner == cookie) {
            slot.write(&[0; WORDS]);
        }
    }
}

fn put(table: fn(&Tables) -> &[Slot; SLOTS], cookie: u64, key: [u64; 3], entry: &Entry) {
    if let Some(slot) = tables().and_then(|tables| slot(table(tables), cookie, key)) {
        slot.write(entry);
    }
}

fn slot(table: &[Slot; SLOTS], cookie: u64, key: [u64; 3]) -> Option<&Slot> {
    // the golden ratio (Fibonacci hashing) spreads differences in the low bits over the high ones
    let mix = |hash: u64, word: &u64| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let hash = key.iter().fold(mix(0, &cookie), mix);
    table.get(hash as usize & (SLOTS - 1))
}

const V4: u64 = 1;
const MAPPED: u64 = 2;
const V6: u64 = 3;
const LOCAL: u64 = 4;
const NOT_SESSION: u64 = 5;

/// An address on loopback as a word, and its form. Loopback has one IPv6 address, of which the port is enough.
fn flow_word(address: SocketAddr) -> (u64, u64) {
    let word = |v4: Ipv4Addr| u64::from(v4.to_bits()) << 16 | u64::from(address.port());
    match address.ip() {
        IpAddr::V4(v4) => (word(v4), V4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => (word(v4), MAPPED),
            None => (u64::from(address.port()), V6),
        },
    }
}

fn flow_address(word: u64, kind: u64) -> SocketAddr {
    let v4 = Ipv4Addr::from_bits((word >> 16) as u32);
    let ip = match kind {
        V4 => IpAddr::V4(v4),
        MAPPED => IpAddr::V6(v4.to_ipv6_mapped()),
        _ => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, word as u16)
}

/// An address without its scope; a mapped IPv4 address equals the plain one.
fn address_words(address: SocketAddr) -> [u64; 3] {
    let bits = match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64, u64::from(address.port())]
}

fn address_of([high, low, port]: [u64; 3]) -> SocketAddr {
    let bits = u128::from(high) << 64 | u128::from(low);
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical(), port as u16)
}

fn is_recent(since: u64, trust: u64) -> bool {
    now().wrapping_sub(since) < trust
}

/// Seconds since the machine started.
fn now() -> u64 {
    let mut time = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the time is writable; this clock is there on every Linux, and reading it sets no errno
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    time.tv_sec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Slot {
        Slot {
            version: AtomicU64::new(0),
            words: Default::default(),
        }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn flow_is_found_by_target_and_by_address_in_every_form() {
        for (cookie, target, flow) in [
            (101, "10.96.10.3:7000", "127.107.1.2:4000"),
            (102, "10.96.10.3:7000", "[::ffff:127.107.1.2]:4001"),
            (103, "[2001:db8::1]:443", "[::ffff:127.107.1.2]:4002"),
            (104, "[2001:db8::1]:443", "[::1]:4003"),
        ] {
            let (target, flow) = (address(target), address(flow));
            assert_eq!(route(cookie, target), None);
            assert_eq!(origin(cookie, flow), None);
            remember_flow(cookie, target, flow);
            assert_eq!(route(cookie, target), Some(CachedRoute::Flow(flow)));
            assert_eq!(origin(cookie, flow), Some(Origin::Target(target)));
            assert_eq!(route(cookie + 1000, target), None);
            forget(cookie);
            assert_eq!(route(cookie, target), None);
            assert_eq!(origin(cookie, flow), None);
        }
    }

    #[test]
    fn address_not_of_session_is_replaced_by_later_flow() {
        let (target, flow) = (address("10.96.10.3:7000"), address("[::1]:5000"));
        remember_not_session(201, flow);
        assert_eq!(origin(201, flow), Some(Origin::NotSession));
        remember_flow(201, target, flow);
        assert_eq!(origin(201, flow), Some(Origin::Target(target)));
    }

    #[test]
    fn local_target_is_found_as_local() {
        remember_local(301, address("192.168.1.1:53"));
        assert_eq!(route(301, address("192.168.1.1:53")), Some(CachedRoute::Local));
        assert_eq!(
            route(301, address("[::ffff:192.168.1.1]:53")),
            Some(CachedRoute::Local)
        );
        assert_eq!(route(301, address("192.168.1.1:54")), None);
    }

    #[test]
    fn entry_expires_at_the_end_of_its_lifetime() {
        assert!(is_recent(now(), LOCAL_LIFETIME));
        assert!(!is_recent(now().wrapping_sub(LIFETIME), LIFETIME));
    }

    #[test]
    fn slot_being_written_is_neither_read_nor_written() {
        let slot = empty();
        slot.write(&[1; WORDS]);
        assert_eq!(slot.read(), Some([1; WORDS]));
        slot.version.fetch_add(1, Ordering::Relaxed);
        assert_eq!(slot.read(), None);
        slot.write(&[2; WORDS]);
        slot.version.fetch_add(1, Ordering::Relaxed);
        assert_eq!(slot.read(), Some([1; WORDS]));
    }

    #[test]
    fn concurrent_readers_and_writers_never_mix_two_entries() {
        let slot = &empty();
        let end = &std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for writer in 1..3 {
                scope.spawn(move || {
                    for round in 0..20_000 {
                        slot.write(&[writer * 1_000_000 + round; WORDS]);
                    }
                    end.store(true, Ordering::Relaxed);
                });
            }
            scope.spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    if let Some(entry) = slot.read() {
                        assert!(entry.iter().all(|word| *word == entry[0]), "{entry:?}");
                    }
                }
            });
        });
    }
}
