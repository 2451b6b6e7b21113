//! What an environment lacks.

use crate::environment::{self, Entry};
use crate::memory::Pages;
use crate::session;
use core::ptr;
use kinject_protocol::environment::{KEPT, LD_PRELOAD, LIBRARY, SOCKET};
use libc::c_char;

/// More entries than any environment has; the kernel's own limit on their size comes first.
const MOST_ENTRIES: usize = 1 << 20;

/// What has to be added to an environment.
pub(super) struct Plan {
    /// The variables that are missing.
    pub(super) missing: [Option<Entry>; KEPT.len()],
    /// What has to become of `LD_PRELOAD`.
    pub(super) preload: Preload,
    /// How many entries the environment has, without the null.
    pub(super) count: usize,
}

/// What has to become of `LD_PRELOAD`.
pub(super) enum Preload {
    /// Our library is in it.
    Complete,
    /// There is none.
    Add {
        /// The path of our library.
        library: *const c_char,
    },
    /// It names other libraries.
    Append {
        /// Its place in the environment.
        index: usize,
        /// The libraries that it names.
        others: *const c_char,
        /// The path of our library.
        library: *const c_char,
    },
}

impl Plan {
    /// Compares an environment with what the session needs; none if it is to be left as it is: it is complete, or
    /// this program is in no session, or means to start one outside of it.
    pub(super) fn of(environment: *const *const c_char) -> Option<Self> {
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
        let preload = preload(&seen, library);
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

fn preload(seen: &Seen, library: Option<Entry>) -> Preload {
    let Some(library) = library.map(Entry::value) else {
        return Preload::Complete;
    };
    let Some((index, others)) = seen.preload else {
        return Preload::Add { library };
    };
    let others = others.value();
    // SAFETY: both are C strings
    if unsafe { names(others, library) } {
        return Preload::Complete;
    }
    Preload::Append {
        index,
        others,
        library,
    }
}

/// Does this list of libraries (ld.so(8)) name this one?
///
/// # Safety
///
/// Both have to be C strings.
unsafe fn names(list: *const c_char, library: *const c_char) -> bool {
    let mut place = list;
    loop {
        // SAFETY: place is within the list, or at its null
        let length = unsafe { name_length(place) };
        // SAFETY: both are readable to their ends
        if length != 0 && unsafe { is_same(place, library, length) } {
            return true;
        }
        place = place.wrapping_add(length);
        // SAFETY: this is the separator or the null
        if unsafe { *place } == 0 {
            return false;
        }
        place = place.wrapping_add(1);
    }
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

/// # Safety
///
/// `text` has to be readable for `length` bytes, and `library` has to be a C string.
unsafe fn is_same(text: *const c_char, library: *const c_char, length: usize) -> bool {
    // SAFETY: strncmp reads no further than a null or the length
    let begins = unsafe { libc::strncmp(text, library, length) } == 0;
    // SAFETY: the library's path is at least that long
    begins && unsafe { ptr::read(library.wrapping_add(length)) } == 0
}
