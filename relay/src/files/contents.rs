//! The bytes of remote files' contents in the shadow root: how many there are, and which of them give way to others.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The most bytes of contents, with those that are being received: they lie in memory.
pub(super) const MAX_CONTENT: u64 = 1 << 30;

/// For how long a content stays after it was asked for, so that the program that asked can open it.
const KEPT: Duration = Duration::from_secs(5);

/// What is counted, by the path in the container.
pub(super) struct Contents {
    limit: u64,
    kept: Duration,
    by_path: HashMap<Vec<u8>, Content>,
    /// The paths in the order in which they were last opened.
    order: BTreeMap<u64, Vec<u8>>,
    next_turn: u64,
    /// The bytes of all in `by_path`.
    total: u64,
    shared: Arc<Shared>,
}

struct Content {
    length: u64,
    turn: u64,
    asked_at: Instant,
}

/// What those that wait for room look at.
#[derive(Default)]
pub(super) struct Shared {
    reserved: AtomicU64,
    /// What of it is not written yet: the file system counts what is.
    unwritten: AtomicU64,
    /// How many contents have given way: whoever was told of one before may not find it.
    evicted: AtomicU64,
    freed: Notify,
}

/// Room for a content that is being received, until it is dropped.
pub(super) struct Reserved {
    bytes: u64,
    written: u64,
    shared: Arc<Shared>,
}

/// The content that gives way next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Oldest {
    /// This one, at once.
    Path(Vec<u8>),
    /// All stay until then.
    Later(Instant),
}

impl Shared {
    /// The number of contents that have given way.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Waits until room that was reserved is free. What becomes free after the call counts, before it is polled too.
    pub(super) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }
}

impl Default for Contents {
    fn default() -> Self {
        Self::with(MAX_CONTENT, KEPT)
    }
}

impl Contents {
    pub(super) fn with(limit: u64, kept: Duration) -> Self {
        Self {
            limit,
            kept,
            by_path: HashMap::new(),
            order: BTreeMap::new(),
            next_turn: 0,
            total: 0,
            shared: Arc::default(),
        }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// A program was told of the content: it stays for long enough to be opened.
    pub(super) fn keep(&mut self, path: &[u8]) {
        if let Some(content) = self.by_path.get_mut(path) {
            content.asked_at = Instant::now();
        }
    }

    /// Whether the shadow root has the content of the file at a path.
    pub(super) fn has(&self, path: &[u8]) -> bool {
        self.by_path.contains_key(path)
    }

    /// A program is about to open the file: its content is the last one to give way.
    pub(super) fn touch(&mut self, path: &[u8]) {
        let turn = self.next_turn;
        if let Some(content) = self.by_path.get_mut(path) {
            self.order.remove(&content.turn);
            self.order.insert(turn, path.to_vec());
            content.turn = turn;
            content.asked_at = Instant::now();
            self.next_turn += 1;
        }
    }

    /// Counts a content that stands there, in place of the room that was reserved for it.
    pub(super) fn add(&mut self, path: Vec<u8>, length: u64, reserved: Reserved) {
        drop(reserved);
        self.forget(&path);
        self.total += length;
        let turn = self.next_turn;
        self.next_turn += 1;
        self.order.insert(turn, path.clone());
        let content = Content {
            length,
            turn,
            asked_at: Instant::now(),
        };
        self.by_path.insert(path, content);
    }

    /// Does not count a content any more, which is gone.
    pub(super) fn forget(&mut self, path: &[u8]) {
        if let Some(content) = self.by_path.remove(path) {
            self.order.remove(&content.turn);
            self.total -= content.length;
        }
    }

    /// The same of one that has given way.
    pub(super) fn evict(&mut self, path: &[u8]) {
        self.forget(path);
        self.shared.evicted.fetch_add(1, Ordering::Relaxed);
    }

    /// The bytes for which room is reserved.
    pub(super) fn reserved(&self) -> u64 {
        self.shared.reserved.load(Ordering::Relaxed)
    }

    /// Those of them that are not written yet.
    pub(super) fn unwritten(&self) -> u64 {
        self.shared.unwritten.load(Ordering::Relaxed)
    }

    /// The bytes that are counted, without those for which room is reserved.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Whether so many bytes fit when all contents have given way that are complete.
    pub(super) fn fits_alone(&self, bytes: u64) -> bool {
        self.reserved().saturating_add(bytes) <= self.limit
    }

    /// Whether so many bytes fit beside all others.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        let taken = self.total.saturating_add(self.reserved());
        taken.saturating_add(bytes) <= self.limit
    }

    pub(super) fn reserve(&self, bytes: u64) -> Reserved {
        self.shared.reserved.fetch_add(bytes, Ordering::Relaxed);
        self.shared.unwritten.fetch_add(bytes, Ordering::Relaxed);
        Reserved {
            bytes,
            written: 0,
            shared: self.shared(),
        }
    }

    /// Which content gives way next; none if there is none.
    pub(super) fn oldest(&self) -> Option<Oldest> {
        let now = Instant::now();
        let mut first = None;
        for path in self.order.values() {
            let stays_until = self.by_path.get(path)?.asked_at + self.kept;
            if stays_until <= now {
                return Some(Oldest::Path(path.clone()));
            }
            first = Some(first.map_or(stays_until, |first: Instant| first.min(stays_until)));
        }
        first.map(Oldest::Later)
    }
}

impl Reserved {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// So many bytes more are written.
    pub(super) fn wrote(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes - self.written);
        self.written += bytes;
        self.shared.unwritten.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Adds the room of another one.
    pub(super) fn extend(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
        self.written += std::mem::take(&mut other.written);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.shared.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
        let unwritten = self.bytes - self.written;
        self.shared.unwritten.fetch_sub(unwritten, Ordering::Relaxed);
        self.shared.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(contents: &mut Contents, path: &str, length: u64) {
        let reserved = contents.reserve(length);
        contents.add(path.into(), length, reserved);
    }

    fn oldest(contents: &Contents) -> String {
        let Some(Oldest::Path(path)) = contents.oldest() else {
            panic!("all stay");
        };
        String::from_utf8(path).unwrap()
    }

    #[test]
    fn content_that_was_not_asked_for_the_longest_time_gives_way_first() {
        let mut contents = Contents::with(100, Duration::ZERO);
        for name in ["/a", "/b", "/c"] {
            add(&mut contents, name, 10);
        }
        assert_eq!(oldest(&contents), "/a");
        contents.touch(b"/a");
        assert_eq!(oldest(&contents), "/b");
        contents.forget(b"/b");
        assert_eq!(oldest(&contents), "/c");
        // one that is replaced is the newest
        add(&mut contents, "/c", 10);
        assert_eq!(oldest(&contents), "/a");
    }

    #[test]
    fn reserved_room_counts_until_it_is_dropped() {
        let mut contents = Contents::with(100, KEPT);
        add(&mut contents, "/a", 40);
        let mut reserved = contents.reserve(30);
        assert!(contents.fits(30) && !contents.fits(31));
        reserved.extend(contents.reserve(30));
        assert_eq!(reserved.bytes(), 60);
        assert!(contents.fits(0) && !contents.fits(1));
        // what arrived is less than was reserved for it
        contents.add(b"/b".to_vec(), 50, reserved);
        assert!(contents.fits(10) && !contents.fits(11));
        contents.forget(b"/a");
        assert!(contents.fits(50) && contents.fits_alone(100) && !contents.fits_alone(101));
    }

    #[test]
    fn written_part_of_reserved_room_is_left_to_the_file_system_to_count() {
        let contents = Contents::with(100, KEPT);
        let (mut one, other) = (contents.reserve(30), contents.reserve(20));
        one.wrote(25);
        assert_eq!((contents.reserved(), contents.unwritten()), (50, 25));
        // more than was reserved
        one.wrote(10);
        assert_eq!(contents.unwritten(), 20);
        one.extend(other);
        assert_eq!((contents.reserved(), contents.unwritten()), (50, 20));
        drop(one);
        assert_eq!((contents.reserved(), contents.unwritten()), (0, 0));
    }

    #[test]
    fn content_that_a_program_was_told_of_stays_and_another_gives_way() {
        let mut contents = Contents::with(100, Duration::from_secs(5));
        add(&mut contents, "/a", 10);
        add(&mut contents, "/b", 10);
        let old = Instant::now().checked_sub(Duration::from_secs(6)).unwrap();
        for content in contents.by_path.values_mut() {
            content.asked_at = old;
        }
        contents.keep(b"/a");
        assert_eq!(oldest(&contents), "/b");
        contents.keep(b"/b");
        assert!(matches!(contents.oldest(), Some(Oldest::Later(_))));
    }
}
