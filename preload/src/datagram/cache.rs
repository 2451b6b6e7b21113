//! Where a socket's datagrams go on loopback, and from where they come, as the relay said a moment ago.
//!
//! Two tables of slots, in which an entry's place follows from what it is found by; a newer entry takes an older
//! one's place. Each slot has a version that is odd while it is written and different afterwards, so that a reader
//! knows whether what it read belongs together. There is no lock: who finds a slot being written asks the relay
//! instead. A slot that a fork(2) caught in the middle stays unused in the child.
//!
//! Entries are trusted for less time than the relay keeps the address for them, and a socket's cookie never names
//! another socket. So the worst that a stale entry does is to lose a datagram.

use crate::sys;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::sync::atomic::{AtomicU64, Ordering, fence};
use libc::timespec;
use once_cell::race::OnceRef;

/// A power of two.
const SLOTS: usize = 256;

/// How long it is trusted, in seconds, where something goes.
const TRUST: u64 = 60;

/// The same where it goes over the local network: a later answer of the cluster may change that.
const TRUST_LOCAL: u64 = 1;

/// What the relay said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CachedRoute {
    /// To this address on loopback, in the form that suits the socket.
    Flow(SocketAddr),
    /// Over the local network.
    Local,
}

/// What the relay said of an address on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It stands for this target.
    Target(SocketAddr),
    /// It is somebody else's.
    Stranger,
}

#[repr(align(64))]
struct Slot {
    version: AtomicU64,
    words: [AtomicU64; WORDS],
}

/// Cookie, three words of an address, two of another, the time.
const WORDS: usize = 7;

type Entry = [u64; WORDS];

/// Both tables. All zeros are empty ones.
struct Tables {
    ways: [Slot; SLOTS],
    origins: [Slot; SLOTS],
}

/// Mapped when there is something to remember: memory of the library's own would cost every exec a mapping.
static TABLES: OnceRef<'static, Tables> = OnceRef::new();

/// The tables, which are made if need be; none where there is no memory for them.
fn tables() -> Option<&'static Tables> {
    TABLES.get().or_else(make)
}

#[cold]
fn make() -> Option<&'static Tables> {
    let memory = sys::map_memory(size_of::<Tables>()).ok()?;
    // SAFETY: fresh memory of that size, at the start of a page, is all zeros and stays
    let made = TABLES.set(unsafe { &*memory.cast::<Tables>() });
    if made.is_err() {
        // SAFETY: another thread was faster, and nobody has seen these
        unsafe { sys::unmap_memory(memory, size_of::<Tables>()) };
    }
    TABLES.get()
}

impl Slot {
    fn read(&self) -> Option<Entry> {
        let before = self.version.load(Ordering::Acquire);
        let mut entry = [0; WORDS];
        for (place, word) in entry.iter_mut().zip(&self.words) {
            *place = word.load(Ordering::Relaxed);
        }
        fence(Ordering::Acquire);
        let is_whole = before & 1 == 0 && self.version.load(Ordering::Relaxed) == before;
        is_whole.then_some(entry)
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
    let [own, high, low, port, address, kind, told] = slot(&TABLES.get()?.ways, cookie, key)?.read()?;
    if own != cookie || [high, low, port] != key {
        return None;
    }
    match kind {
        LOCAL if is_recent(told, TRUST_LOCAL) => Some(CachedRoute::Local),
        V4 | MAPPED | V6 if is_recent(told, TRUST) => Some(CachedRoute::Flow(flow_address(address, kind))),
        _ => None,
    }
}

/// What an address on loopback stands for.
pub(super) fn origin(cookie: u64, address: SocketAddr) -> Option<Origin> {
    let key = address_words(address);
    let (word, _) = flow_word(address);
    let entry = slot(&TABLES.get()?.origins, cookie, key)?.read()?;
    let [own, high, low, port, from, kind, told] = entry;
    if own != cookie || from != word || !is_recent(told, TRUST) {
        return None;
    }
    match kind {
        STRANGER => Some(Origin::Stranger),
        V4 | MAPPED | V6 => Some(Origin::Target(address_of([high, low, port]))),
        _ => None,
    }
}

/// The relay said that `flow` stands for `target`.
pub(super) fn remember_flow(cookie: u64, target: SocketAddr, flow: SocketAddr) {
    let [high, low, port] = address_words(target);
    let (address, kind) = flow_word(flow);
    let entry = [cookie, high, low, port, address, kind, now()];
    put(|tables| &tables.ways, cookie, [high, low, port], &entry);
    put(|tables| &tables.origins, cookie, address_words(flow), &entry);
}

/// The relay said that the target is local.
pub(super) fn remember_local(cookie: u64, target: SocketAddr) {
    let [high, low, port] = address_words(target);
    put(
        |tables| &tables.ways,
        cookie,
        [high, low, port],
        &[cookie, high, low, port, 0, LOCAL, now()],
    );
}

/// The relay does not know this address on loopback.
pub(super) fn remember_stranger(cookie: u64, address: SocketAddr) {
    let (word, _) = flow_word(address);
    let entry = [cookie, 0, 0, 0, word, STRANGER, now()];
    put(|tables| &tables.origins, cookie, address_words(address), &entry);
}

/// The socket may get another port: what was said of it holds no longer.
pub(super) fn forget(cookie: u64) {
    let Some(tables) = TABLES.get() else {
        return;
    };
    for slot in tables.ways.iter().chain(&tables.origins) {
        if slot.read().is_some_and(|[own, ..]| own == cookie) {
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
    // the golden ratio spreads what differs in the low bits over the high ones
    let mix = |hash: u64, word: &u64| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let hash = key.iter().fold(mix(0, &cookie), mix);
    table.get(hash as usize & (SLOTS - 1))
}

const V4: u64 = 1;
const MAPPED: u64 = 2;
const V6: u64 = 3;
const LOCAL: u64 = 4;
const STRANGER: u64 = 5;

/// An address on loopback, and in which form; over IPv6 there is only one.
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

/// An address without its scope; mapped and plain IPv4 addresses are one.
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

fn is_recent(told: u64, trust: u64) -> bool {
    now().wrapping_sub(told) < trust
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
    fn a_flow_is_found_by_its_target_and_by_its_address_in_every_form() {
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
    fn a_stranger_is_one_until_the_relay_says_otherwise() {
        let (target, flow) = (address("10.96.10.3:7000"), address("[::1]:5000"));
        remember_stranger(201, flow);
        assert_eq!(origin(201, flow), Some(Origin::Stranger));
        remember_flow(201, target, flow);
        assert_eq!(origin(201, flow), Some(Origin::Target(target)));
    }

    #[test]
    fn what_is_local_is_remembered_as_such() {
        remember_local(301, address("192.168.1.1:53"));
        assert_eq!(route(301, address("192.168.1.1:53")), Some(CachedRoute::Local));
        assert_eq!(
            route(301, address("[::ffff:192.168.1.1]:53")),
            Some(CachedRoute::Local)
        );
        assert_eq!(route(301, address("192.168.1.1:54")), None);
    }

    #[test]
    fn what_is_old_is_not_trusted() {
        assert!(is_recent(now(), TRUST_LOCAL));
        assert!(!is_recent(now().wrapping_sub(TRUST), TRUST));
    }

    #[test]
    fn a_slot_that_is_being_written_is_neither_read_nor_written() {
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
    fn readers_never_see_halves_of_two_entries() {
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
