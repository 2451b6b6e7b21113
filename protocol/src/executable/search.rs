//! Searching a program's file without holding it in memory.

use super::File;

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// How much is read at once.
const CHUNK: usize = 4096;

/// What is carried over from one chunk to the next: longer than anything that is searched.
pub(super) const OVERLAP: usize = 64;

/// No more of a file than this is searched; a larger part counts as a match.
const MOST: u64 = 64 << 20;

/// Searches a part of a file chunk by chunk. The answer is yes for a file that cannot be read to its end or is too
/// large.
pub(super) fn any(file: &impl File, range: Range, in_doubt: bool, holds: impl Fn(&[u8]) -> bool) -> bool {
    if in_doubt && range.size > MOST {
        return true;
    }
    let mut buffer = [0; CHUNK];
    let mut done: u64 = 0;
    while done < range.size.min(MOST) {
        let left = usize::try_from(range.size.saturating_sub(done)).unwrap_or(CHUNK);
        let Some(room) = buffer.get_mut(..left.min(CHUNK)) else {
            return in_doubt;
        };
        let wanted = room.len();
        let Some(count) = file.read_at(range.offset.saturating_add(done), room) else {
            return in_doubt;
        };
        if holds(room.get(..count).unwrap_or_default()) {
            return true;
        }
        if count < CHUNK || wanted < CHUNK {
            return false;
        }
        done = done.saturating_add((CHUNK - OVERLAP) as u64);
    }
    false
}
