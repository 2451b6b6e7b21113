//! The session's table of paths, as far as one call needs it.
//!
//! The table is the same from the program's start to its end, so the first call that needs it keeps where it is, and
//! a filter that tells most paths without it. Two threads that do so at once keep the same.

use crate::session::{self, Session};
use crate::sys;
use core::ffi::CStr;
use core::slice;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use kinject_protocol::environment::PATHS;
use kinject_protocol::paths::{Filter, PathTable, Route};

/// The address of the variable's value, [`UNKNOWN`], or [`ABSENT`].
static VALUE: AtomicUsize = AtomicUsize::new(UNKNOWN);
static LENGTH: AtomicUsize = AtomicUsize::new(0);
static FILTER: [AtomicU64; Filter::WORDS] = [const { AtomicU64::new(0) }; Filter::WORDS];
static FLAGS: AtomicUsize = AtomicUsize::new(0);

const UNKNOWN: usize = 0;
const ABSENT: usize = 1;

/// [`FLAGS`]: something has to be asked of the relay.
const HAS_REMOTE: usize = 1;
/// [`FLAGS`]: the program started in a folder that an entry covers.
const STARTED_BELOW_ENTRY: usize = 2;
/// [`FLAGS`]: there is a filter.
const HAS_FILTER: usize = 4;

/// The table.
#[derive(Clone, Copy)]
pub(super) struct Table {
    value: &'static [u8],
    flags: usize,
}

/// Whether it is known that there is no table.
#[inline]
pub(crate) fn is_absent() -> bool {
    VALUE.load(Ordering::Relaxed) == ABSENT
}

impl Table {
    /// The session's, if it has one.
    #[inline]
    pub(super) fn current() -> Option<Self> {
        match VALUE.load(Ordering::Acquire) {
            UNKNOWN => Self::of_environment(),
            ABSENT => None,
            value => Some(Self {
                // SAFETY: `keep` stored the address and the length of a value that lives as long as the process
                value: unsafe { slice::from_raw_parts(value as *const u8, LENGTH.load(Ordering::Relaxed)) },
                flags: FLAGS.load(Ordering::Relaxed),
            }),
        }
    }

    #[cold]
    fn of_environment() -> Option<Self> {
        let value = Session::current()
            .and_then(|_| session::variable(PATHS))
            // SAFETY: entries point to C strings
            .map(|entry| unsafe { CStr::from_ptr(entry.value()) }.to_bytes());
        let table = value.and_then(|value| Some((value, PathTable::parse(value)?)));
        // before our constructor ran the value is the environment's own, which may change
        let is_fixed = session::is_fixed();
        match table {
            None => {
                if is_fixed {
                    VALUE.store(ABSENT, Ordering::Relaxed);
                }
                None
            }
            Some((value, paths)) => {
                let flags = flags(&paths);
                let table = Self { value, flags };
                Some(if is_fixed { table.keep(&paths) } else { table })
            }
        }
    }

    fn keep(self, paths: &PathTable<'_>) -> Self {
        for (kept, word) in FILTER.iter().zip(Filter::of(paths).words()) {
            kept.store(*word, Ordering::Relaxed);
        }
        let flags = self.flags | HAS_FILTER;
        FLAGS.store(flags, Ordering::Relaxed);
        LENGTH.store(self.value.len(), Ordering::Relaxed);
        VALUE.store(self.value.as_ptr() as usize, Ordering::Release);
        Self { flags, ..self }
    }

    /// The variable's value.
    pub(super) fn text(&self) -> &'static [u8] {
        self.value
    }

    /// The entries.
    pub(super) fn paths(&self) -> Option<PathTable<'static>> {
        PathTable::parse(self.value)
    }

    /// Whether a path may lead elsewhere than to this machine's file, as far as its text says. `is_located` is set for
    /// a call for which it matters in which folder a relative path begins.
    #[inline]
    pub(super) fn may_concern(&self, path: &[u8], is_located: bool) -> bool {
        match path {
            [] => false,
            [b'/', ..] => self.filter_lets_pass(path),
            _ if is_located || self.flags & (HAS_REMOTE | STARTED_BELOW_ENTRY) != 0 => true,
            _ => {
                self.filter_lets_pass(path) && self.paths().is_some_and(|paths| paths.may_lead_to_entry(path))
            }
        }
    }

    #[inline]
    fn filter_lets_pass(&self, path: &[u8]) -> bool {
        let word = |index| {
            FILTER
                .get(index)
                .map_or(u64::MAX, |word: &AtomicU64| word.load(Ordering::Relaxed))
        };
        self.flags & HAS_FILTER == 0 || Filter::words_let_pass(path, word)
    }
}

#[cold]
fn flags(paths: &PathTable<'_>) -> usize {
    let mut flags = 0;
    if paths.has_remote() {
        flags |= HAS_REMOTE;
    }
    let mut buffer = [0; sys::PATH_SIZE];
    let folder = sys::current_folder(&mut buffer).unwrap_or_default();
    if matches!(paths.route(folder), Route::Shadow(_)) {
        flags |= STARTED_BELOW_ENTRY;
    }
    flags
}
