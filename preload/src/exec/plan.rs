//! What an environment lacks.

use crate::environment::{self, Entry};
use crate::memory::Pages;
use crate::session;
use core::ffi::CStr;
use kinject_protocol::environment::{KEPT, LD_PRELOAD, LIBRARY, SOCKET};
use kinject_protocol::executable::Runtime;
use libc::c_char;

/// More entries than any environment has; the kernel's own limit on their size comes first.
const MOST_ENTRIES: usize = 1 << 20;

/// What has to be added to an environment.
pub(super) struct Plan<'a> {
    /// The variables that are missing.
    pub(super) missing: [Option<Entry>; KEPT.len()],
    /// What has to become of `LD_PRELOAD`.
    pub(super) preload: Preload<'a>,
    /// How many entries the environment has, without the null.
    pub(super) count: usize,
}

/// What has to become of `LD_PRELOAD`.
pub(super) enum Preload<'a> {
    /// What is needed is in it.
    Complete,
    /// Another one takes its place.
    Written {
        /// The place in the environment of the one that is replaced, if there is one.
        index: Option<usize>,
        value: List<'a>,
    },
}

/// A list of libraries, in parts: those before the sanitizer's runtime, which stands directly before our library, and what
/// begins with our library.
pub(super) struct List<'a> {
    pub(super) others: *const c_char,
    pub(super) others_length: usize,
    /// Whether nothing separates the others from what follows yet.
    pub(super) needs_separator: bool,
    pub(super) runtime: Option<&'a Runtime>,
    pub(super) rest: *const c_char,
}

impl<'a> Plan<'a> {
    /// Compares an environment with what the session needs; none if it is to be left as it is: it is complete, or
    /// this program is in no session, or means to start one outside of it.
    /// `runtime` is the program's sanitizer, if it has one.
    pub(super) fn of(environment: *const *const c_char, runtime: Option<&'a Runtime>) -> Option<Self> {
        let own_socket = session::variable(SOCKET)?;
        // SAFETY: the variable is a C string
        if unsafe { *own_socket.value() } == 0 {
            return None;
        }
        let seen = Seen::in_environment(environment)?;
        if seen.kept.into_iter().flatten().any(is_departure) {
            return None;
        }
        let mut missing = [None; KEPT.len()];
        let mut library = None;
        for ((name, given), place) in KEPT.iter().zip(seen.kept).zip(&mut missing) {
            if given.is_none() {
                *place = session::variable(name);
            }
            if *name == LIBRARY {
                library = given.or(*place);
            }
        }
        let preload = preload(&seen, library, runtime);
        let is_complete = matches!(preload, Preload::Complete) && missing.iter().all(Option::is_none);
        (!is_complete).then_some(Self {
            missing,
            preload,
            count: seen.count,
        })
    }
}

/// Does this environment say that the child is to leave the session?
pub(super) fn leaves(environment: *const *const c_char) -> bool {
    Seen::in_environment(environment).is_some_and(|seen| seen.kept.into_iter().flatten().any(is_departure))
}

/// An empty socket variable means that the child is to leave the session.
fn is_departure(entry: Entry) -> bool {
    // SAFETY: the entry is a C string
    entry.is_named(SOCKET) && unsafe { *entry.value() } == 0
}

/// What an environment has of what a session needs.
struct Seen {
    kept: [Option<Entry>; KEPT.len()],
    /// The last one and its place, as the dynamic linker takes the last.
    preload: Option<(usize, Entry)>,
    count: usize,
}

impl Seen {
    /// None if the kernel will find a fault in it.
    fn in_environment(environment: *const *const c_char) -> Option<Self> {
        let mut seen = Self {
            kept: [None; KEPT.len()],
            preload: None,
            count: 0,
        };
        // the kernel takes null for an empty environment
        if environment.is_null() {
            return Some(seen);
        }
        let (mut array, mut texts) = (Pages::new(), Pages::new());
        while seen.count < MOST_ENTRIES {
            let place = environment.wrapping_add(seen.count);
            if !array.is_readable(place.cast()) {
                return None;
            }
            // SAFETY: the page can be read, and no entry before this one was null
            let text = unsafe { place.read_unaligned() };
            if text.is_null() {
                return Some(seen);
            }
            if !texts.is_readable(text.cast()) {
                return None;
            }
            // SAFETY: the entry is a C string that begins in a page that can be read
            unsafe { seen.note(text) };
            seen.count = seen.count.saturating_add(1);
        }
        None
    }

    /// # Safety
    ///
    /// `text` has to point to a C string.
    unsafe fn note(&mut self, text: *const c_char) {
        // SAFETY: the caller vouches for it
        if unsafe { environment::has_name(text, LD_PRELOAD) } {
            // SAFETY: it begins with that name
            self.preload = Some((self.count, unsafe { Entry::new(text, LD_PRELOAD) }));
            return;
        }
        for (name, place) in KEPT.iter().zip(&mut self.kept) {
            // SAFETY: the caller vouches for it
            if place.is_none() && unsafe { environment::has_name(text, name) } {
                // SAFETY: it begins with that name
                *place = Some(unsafe { Entry::new(text, name) });
                return;
            }
        }
    }
}

fn preload<'a>(seen: &Seen, library: Option<Entry>, runtime: Option<&'a Runtime>) -> Preload<'a> {
    let Some(library) = library.map(Entry::value) else {
        return Preload::Complete;
    };
    let Some((index, list)) = seen.preload else {
        let value = List {
            others: c"".as_ptr(),
            others_length: 0,
            needs_separator: false,
            runtime,
            rest: library,
        };
        return Preload::Written { index: None, value };
    };
    let list = list.value();
    // SAFETY: both are C strings
    let place = unsafe { find(list, |name| is(name, library)) };
    // SAFETY: the list is one
    let missing = runtime.filter(|runtime| unsafe { find(list, |name| name == runtime.name()) }.is_none());
    let value = match (place, missing) {
        (Some(_), None) => return Preload::Complete,
        (Some(place), runtime) => List {
            others: list,
            others_length: place,
            needs_separator: false,
            runtime,
            rest: list.wrapping_add(place),
        },
        (None, runtime) => {
            // SAFETY: it is a C string
            let others_length = unsafe { libc::strlen(list) };
            List {
                others: list,
                others_length,
                needs_separator: others_length != 0,
                runtime,
                rest: library,
            }
        }
    };
    Preload::Written {
        index: Some(index),
        value,
    }
}

/// Where the first library of a list (ld.so(8)) stands that is wanted.
///
/// # Safety
///
/// `list` has to be a C string.
pub(super) unsafe fn find(list: *const c_char, is_wanted: impl Fn(&[u8]) -> bool) -> Option<usize> {
    let mut place = list;
    loop {
        // SAFETY: place is within the list, or at its null
        let length = unsafe { name_length(place) };
        // SAFETY: so many bytes of it are no null
        let name = unsafe { core::slice::from_raw_parts(place.cast::<u8>(), length) };
        if length != 0 && is_wanted(name) {
            return Some((place as usize).wrapping_sub(list as usize));
        }
        place = place.wrapping_add(length);
        // SAFETY: this is the separator or the null
        if unsafe { *place } == 0 {
            return None;
        }
        place = place.wrapping_add(1);
    }
}

/// Whether a name of a list is this path, a C string.
pub(super) fn is(name: &[u8], path: *const c_char) -> bool {
    // SAFETY: it is a C string
    unsafe { CStr::from_ptr(path) }.to_bytes() == name
}

/// # Safety
///
/// `text` has to be a C string.
unsafe fn name_length(text: *const c_char) -> usize {
    let mut length: usize = 0;
    // SAFETY: no byte before this one was null
    while !matches!(unsafe { *text.wrapping_add(length) } as u8, 0 | b':' | b' ') {
        length = length.wrapping_add(1);
    }
    length
}
