//! A test by which most paths need no look at the table.

use super::glob::is_pattern;
use super::normal::components;
use super::{EntryKind, PathTable, canonical};

/// Which paths a table may be about, by their first two components: sets of hashes, as in a Bloom filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The first components of all entries.
    folders: u64,
    /// Those of the entries that say nothing of the second component.
    firsts: u64,
    /// The first two components of the others.
    pairs: u64,
}

impl Filter {
    /// The filter of a table, which lets paths below its root pass, too.
    #[inline]
    pub fn of(table: &PathTable<'_>) -> Self {
        let mut filter = Self::default();
        filter.insert(table.root());
        for entry in table.entries() {
            match entry.kind {
                EntryKind::Mount(_) | EntryKind::RemoteGlob => filter.insert(entry.path),
                EntryKind::LocalGlob => {}
            }
        }
        filter
    }

    /// As three numbers, for a place where it is kept.
    #[inline]
    pub fn to_words(self) -> [u64; 3] {
        [self.folders, self.firsts, self.pairs]
    }

    /// The filter of these numbers.
    #[inline]
    pub fn from_words([folders, firsts, pairs]: [u64; 3]) -> Self {
        Self {
            folders,
            firsts,
            pairs,
        }
    }

    /// Whether an absolute path, in any form, may lead elsewhere than to this machine's file of the same path.
    #[inline]
    pub fn lets_pass(&self, path: &[u8]) -> bool {
        // the set of the first component, and of the first two
        let (mut first, mut pair) = (0, 0);
        let (mut hash, mut count, mut before) = (Hash::new(), 0_u32, 0);
        for byte in canonical(path) {
            match (before, byte) {
                // the path is in no normal form, or a component begins with a dot
                (b'/', b'/' | b'.') => return true,
                (0, _) => {}
                (_, b'/') => {
                    count = count.saturating_add(1);
                    match count {
                        1 => first = hash.bit(),
                        2 => pair = hash.bit(),
                        _ => {}
                    }
                    hash.add(b'/');
                }
                _ if count < 2 => hash.add(*byte),
                _ => {}
            }
            before = *byte;
        }
        if before != b'/' {
            match count {
                0 => first = hash.bit(),
                1 => pair = hash.bit(),
                _ => {}
            }
        }
        if count == 0 && before == b'/' {
            // the root folder, which a glob may match
            return self.firsts == u64::MAX;
        }
        let alone = if pair == 0 { self.folders } else { 0 };
        first & (self.firsts | alone) != 0 || pair & self.pairs != 0
    }

    #[inline]
    fn insert(&mut self, path: &[u8]) {
        let mut components = components(canonical(path));
        let Some(first) = components.next().filter(|first| !is_pattern(first)) else {
            *self = Self::from_words([u64::MAX; 3]);
            return;
        };
        let mut hash = Hash::new();
        first.iter().for_each(|byte| hash.add(*byte));
        self.folders |= hash.bit();
        match components.next().filter(|second| !is_pattern(second)) {
            None => self.firsts |= hash.bit(),
            Some(second) => {
                hash.add(b'/');
                second.iter().for_each(|byte| hash.add(*byte));
                self.pairs |= hash.bit();
            }
        }
    }
}

/// Sixty-four classes of strings.
struct Hash(u64);

impl Hash {
    #[inline]
    fn new() -> Self {
        Self(0)
    }

    #[inline]
    fn add(&mut self, byte: u8) {
        self.0 = self.0.wrapping_mul(31).wrapping_add(u64::from(byte));
    }

    #[inline]
    fn bit(&self) -> u64 {
        1 << (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
    }
}
