//! A test by which most paths need no look at the table.

use super::glob::is_pattern;
use super::normal::components;
use super::{EntryKind, PathTable, canonical};

/// Which paths a table may be about: sets of hashes, as in a Bloom filter, of the first component and of the first two
/// components of an absolute path, and of the first component of a relative one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter([u64; Filter::WORDS]);

/// The words of one set.
const SET: usize = 8;
/// The set of the first components of all entries.
const FOLDERS: usize = 0;
/// That of the entries that say nothing of the second component.
const FIRSTS: usize = FOLDERS + SET;
/// The set of the first two components of the others.
const PAIRS: usize = FIRSTS + SET;
/// The set of all components of entries.
const NAMES: usize = PAIRS + SET;

impl Filter {
    /// How many numbers a filter is.
    pub const WORDS: usize = NAMES + SET;

    /// The filter of a table, which lets paths below its root pass, too.
    #[inline]
    pub fn of(table: &PathTable<'_>) -> Self {
        let mut filter = Self([0; Self::WORDS]);
        filter.insert(table.root());
        for entry in table.entries() {
            match entry.kind {
                EntryKind::Mount(_) | EntryKind::RemoteGlob => {
                    filter.insert(entry.path);
                    filter.insert_names(entry.path);
                }
                EntryKind::LocalGlob => {}
            }
        }
        filter
    }

    /// As numbers, for a place where it is kept.
    #[inline]
    pub fn words(&self) -> &[u64; Self::WORDS] {
        &self.0
    }

    /// Whether a path, in any form, may lead elsewhere than to this machine's file of the same path.
    #[inline]
    pub fn lets_pass(&self, path: &[u8]) -> bool {
        Self::words_let_pass(path, |index| self.0.get(index).copied().unwrap_or(u64::MAX))
    }

    /// The same by the numbers of a filter. A relative path begins in a folder that no entry covers.
    #[inline]
    pub fn words_let_pass(path: &[u8], word: impl Fn(usize) -> u64) -> bool {
        match path {
            [b'/', ..] => absolute_passes(canonical(path), word),
            _ => relative_passes(path, word),
        }
    }

    #[inline]
    fn insert(&mut self, path: &[u8]) {
        let mut components = components(canonical(path));
        let Some(first) = components.next().filter(|first| !is_pattern(first)) else {
            self.0 = [u64::MAX; Self::WORDS];
            return;
        };
        let mut hash = Hash::new();
        first.iter().for_each(|byte| hash.add(*byte));
        self.put(FOLDERS, &hash);
        match components.next().filter(|second| !is_pattern(second)) {
            None => self.put(FIRSTS, &hash),
            Some(second) => {
                hash.add(b'/');
                second.iter().for_each(|byte| hash.add(*byte));
                self.put(PAIRS, &hash);
            }
        }
    }

    #[inline]
    fn insert_names(&mut self, path: &[u8]) {
        for component in components(path) {
            if is_pattern(component) {
                self.0.iter_mut().skip(NAMES).for_each(|word| *word = u64::MAX);
                return;
            }
            let mut hash = Hash::new();
            component.iter().for_each(|byte| hash.add(*byte));
            self.put(NAMES, &hash);
        }
    }

    #[inline]
    fn put(&mut self, set: usize, hash: &Hash) {
        let (index, bit) = hash.place();
        if let Some(word) = self.0.get_mut(set.wrapping_add(index)) {
            *word |= bit;
        }
    }
}

#[inline]
fn absolute_passes(path: &[u8], word: impl Fn(usize) -> u64) -> bool {
    let has = |set: usize, (index, bit): (usize, u64)| word(set.wrapping_add(index)) & bit != 0;
    let (mut first, mut pair) = (None, None);
    let (mut hash, mut count, mut before) = (Hash::new(), 0_u32, 0);
    for byte in path {
        match (before, byte) {
            // the path is in no normal form, or a component begins with a dot
            (b'/', b'/' | b'.') => return true,
            (0, _) => {}
            (_, b'/') => {
                count = count.saturating_add(1);
                match count {
                    1 => first = Some(hash.place()),
                    2 => pair = Some(hash.place()),
                    _ => {}
                }
                hash.add(b'/');
            }
            _ if count < 2 => hash.add(*byte),
            _ => {}
        }
        before = *byte;
    }
    match (count, before) {
        // the root folder, which a glob may match
        (0, b'/') => return word(FIRSTS) == u64::MAX,
        (0, _) => first = Some(hash.place()),
        (1, before) if before != b'/' => pair = Some(hash.place()),
        _ => {}
    }
    let is_first = first.is_some_and(|first| has(FIRSTS, first) || (pair.is_none() && has(FOLDERS, first)));
    is_first || pair.is_some_and(|pair| has(PAIRS, pair))
}

#[inline]
fn relative_passes(path: &[u8], word: impl Fn(usize) -> u64) -> bool {
    let (mut hash, mut is_first, mut before) = (Hash::new(), true, b'/');
    for byte in path {
        match (before, byte) {
            // `.`, `..`, or a name that begins so
            (b'/', b'.') => return true,
            (_, b'/') => is_first = false,
            _ if is_first => hash.add(*byte),
            _ => {}
        }
        before = *byte;
    }
    let (index, bit) = hash.place();
    word(NAMES.wrapping_add(index)) & bit != 0
}

/// The class of a string, of as many as a set has bits.
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

    /// The word in a set, and the bit in it.
    #[inline]
    fn place(&self) -> (usize, u64) {
        let mixed = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed >> 61) as usize, 1 << (mixed >> 55 & 63))
    }
}

const _: () = assert!(SET == 1 << (64 - 61));
