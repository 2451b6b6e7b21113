//! What an environment lacks of what a session needs.

use crate::environment::{self, Entry};
use crate::memory::Pages;
use crate::session;
use core::ffi::CStr;
use kinject_protocol::environment::{KEPT, LD_PRELOAD, LIBRARY, SOCKET};
use kinject_protocol::executable::Runtime;
use libc::c_char;

/// More entries than any environment has: the kernel's own limit on their size is reached before.
const MAX_ENTRIES: usize = 1 << 20;

/// What has to be added to an environment.
pub(super) struct Plan<'a> {
    /// The variables that are missing.
    pub(super) missing: [Option<Entry>; KEPT.len()],
    /// The change of `LD_PRELOAD`.
    pub(super) preload: Preload<'a>,
    /// How many entries the environment has, without the null.
    pub(super) count: usize,
}

/// The change of `LD_PRELOAD`.
pub(super) enum Preload<'a> {
    /// None: it has all libraries.
    Complete,
    /// It gets this value.
    Written {
        /// The index of the entry that is replaced, if there is one.
        index: Option<usize>,
        value: List<'a>,
    },
}

/// A list of libraries in parts: the others, the sanitizer's runtime, which comes directly before our library, and
/// the rest, which begins with our library.
pub(super) struct List<'a> {
    pub(super) others: *const c_char,
    pub(super) others_length: usize,
    /// Whether a separator is missing behind the others.
    pub(super) needs_separator: bool,
    pub(super) runtime: Option<&'a Runtime>,
    pub(super) rest: *const c_char,
}

impl<'a> Plan<'a> {
    /// Compares an environment with the session's; none if it stays as it is.
    ///
    /// `runtime` is the program's sanitizer, if it has one.
    pub(super) fn of(environment: *const *const c_char, runtime: Option<&'a Runtime>) -> Option<Self> {
        let socket = session::variable(SOCKET)?;
        // SAFETY: the variable is a C string
        if unsafe { *socket.value() } == 0 {
            return None;
        }
        Self::decide(&Found::in_environment(environment)?, session::variable, runtime)
    }

    /// Decides what an environment lacks, by what was found in it and the session's own variables. It stays as it is
    /// if it is complete, or if the program starts the child outside of the session.
    fn decide(
        found: &Found,
        own: impl Fn(&'static str) -> Option<Entry>,
        runtime: Option<&'a Runtime>,
    ) -> Option<Self> {
        if found.kept.into_iter().flatten().any(is_departure) {
            return None;
        }
        let mut missing = [None; KEPT.len()];
        let mut library = None;
        for ((name, given), lacking) in KEPT.iter().zip(found.kept).zip(&mut missing) {
            if given.is_none() {
                *lacking = own(name);
            }
            if *name == LIBRARY {
                library = given.or(*lacking);
            }
        }
        let preload = preload(found, library, runtime);
        let is_complete = matches!(preload, Preload::Complete) && missing.iter().all(Option::is_none);
        (!is_complete).then_some(Self {
            missing,
            preload,
            count: found.count,
        })
    }
}

/// Does this environment take the child out of the session?
pub(super) fn leaves(environment: *const *const c_char) -> bool {
    Found::in_environment(environment).is_some_and(|found| found.kept.into_iter().flatten().any(is_departure))
}

/// An empty socket variable takes the child out of the session.
fn is_departure(entry: Entry) -> bool {
    // SAFETY: the entry is a C string
    entry.is_named(SOCKET) && unsafe { *entry.value() } == 0
}

/// What was found in an environment of what a session needs.
struct Found {
    kept: [Option<Entry>; KEPT.len()],
    /// The last `LD_PRELOAD` and its index: the dynamic linker takes the last.
    preload: Option<(usize, Entry)>,
    count: usize,
}

impl Found {
    /// None if it cannot be read: the kernel returns `EFAULT`.
    fn in_environment(environment: *const *const c_char) -> Option<Self> {
        let mut found = Self {
            kept: [None; KEPT.len()],
            preload: None,
            count: 0,
        };
        // the kernel takes null for an empty environment
        if environment.is_null() {
            return Some(found);
        }
        let (mut array, mut texts) = (Pages::new(), Pages::new());
        while found.count < MAX_ENTRIES {
            let element = environment.wrapping_add(found.count);
            if !array.is_readable(element.cast()) {
                return None;
            }
            // SAFETY: the page can be read, and no entry before this one was null
            let text = unsafe { element.read_unaligned() };
            if text.is_null() {
                return Some(found);
            }
            if !texts.is_readable(text.cast()) {
                return None;
            }
            // SAFETY: the entry is a C string that begins in a page that can be read
            unsafe { found.note(text) };
            found.count = found.count.saturating_add(1);
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
        for (name, kept) in KEPT.iter().zip(&mut self.kept) {
            // SAFETY: the caller vouches for it
            if kept.is_none() && unsafe { environment::has_name(text, name) } {
                // SAFETY: it begins with that name
                *kept = Some(unsafe { Entry::new(text, name) });
                return;
            }
        }
    }
}

fn preload<'a>(found: &Found, library: Option<Entry>, runtime: Option<&'a Runtime>) -> Preload<'a> {
    let Some(library) = library.map(Entry::value) else {
        return Preload::Complete;
    };
    let Some((index, list)) = found.preload else {
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
    let position = unsafe { find(list, |name| is(name, library)) };
    // SAFETY: the list is one
    let missing = runtime.filter(|runtime| unsafe { find(list, |name| name == runtime.name()) }.is_none());
    let value = match (position, missing) {
        (Some(_), None) => return Preload::Complete,
        (Some(position), runtime) => List {
            others: list,
            others_length: position,
            needs_separator: false,
            runtime,
            rest: list.wrapping_add(position),
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

/// The position of the first library in a list (ld.so(8)) that matches.
///
/// # Safety
///
/// `list` has to be a C string.
pub(super) unsafe fn find(list: *const c_char, matches: impl Fn(&[u8]) -> bool) -> Option<usize> {
    let mut next = list;
    loop {
        // SAFETY: next is within the list, or at its null
        let length = unsafe { name_length(next) };
        // SAFETY: so many bytes of it are no null
        let name = unsafe { core::slice::from_raw_parts(next.cast::<u8>(), length) };
        if length != 0 && matches(name) {
            return Some((next as usize).wrapping_sub(list as usize));
        }
        next = next.wrapping_add(length);
        // SAFETY: this is the separator or the null
        if unsafe { *next } == 0 {
            return None;
        }
        next = next.wrapping_add(1);
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

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr;
    use kinject_protocol::environment::{CONTROL, SESSION};
    use std::ffi::CString;

    /// An environment in memory.
    struct Environment {
        texts: Vec<CString>,
        array: Vec<*const c_char>,
    }

    impl Environment {
        fn new(entries: &[&str]) -> Self {
            let texts: Vec<_> = entries.iter().map(|text| CString::new(*text).unwrap()).collect();
            let array = texts
                .iter()
                .map(|text| text.as_ptr())
                .chain([ptr::null()])
                .collect();
            Self { texts, array }
        }

        fn found(&self) -> Found {
            Found::in_environment(self.array.as_ptr()).unwrap()
        }

        /// What the environment of a session's program has of this name.
        fn variable(&self, name: &'static str) -> Option<Entry> {
            let has_name = |text: &&CString| {
                // SAFETY: it is a C string
                unsafe { environment::has_name(text.as_ptr(), name) }
            };
            let text = self.texts.iter().find(has_name)?;
            // SAFETY: it begins with that name
            Some(unsafe { Entry::new(text.as_ptr(), name) })
        }
    }

    fn session() -> Environment {
        Environment::new(&[
            "KINJECT_SOCKET=/run/x/control",
            "KINJECT_CONTROL=x",
            "KINJECT_LIBRARY=/k.so",
            "KINJECT_SESSION=0123abcd",
        ])
    }

    /// The names of the variables that are added, and the new `LD_PRELOAD` as index, others, separator and rest.
    type Decided = (Vec<String>, Option<(Option<usize>, String, bool, String)>);

    fn decided(entries: &[&str]) -> Option<Decided> {
        let (session, environment) = (session(), Environment::new(entries));
        let plan = Plan::decide(&environment.found(), |name| session.variable(name), None)?;
        // SAFETY: all of them are C strings
        let text = |text: *const c_char| unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned();
        let name = |entry: &Entry| text(entry.text()).split_once('=').unwrap().0.to_owned();
        let missing = plan.missing.iter().flatten().map(name).collect();
        let preload = match &plan.preload {
            Preload::Complete => None,
            Preload::Written { index, value } => {
                let others = text(value.others)[..value.others_length].to_owned();
                Some((*index, others, value.needs_separator, text(value.rest)))
            }
        };
        assert_eq!(plan.count, entries.len());
        Some((missing, preload))
    }

    const COMPLETE: [&str; 5] = [
        "KINJECT_SOCKET=/run/x/control",
        "KINJECT_CONTROL=x",
        "KINJECT_LIBRARY=/k.so",
        "KINJECT_SESSION=0123abcd",
        "LD_PRELOAD=/k.so",
    ];

    #[test]
    fn complete_environment_stays_as_it_is() {
        assert_eq!(decided(&COMPLETE), None);
    }

    #[test]
    fn empty_environment_gets_every_variable_and_the_library() {
        let (missing, preload) = decided(&["OTHER=1"]).unwrap();
        assert_eq!(missing, [SOCKET, CONTROL, LIBRARY, SESSION]);
        assert_eq!(preload, Some((None, String::new(), false, "/k.so".into())));
    }

    #[test]
    fn environment_with_empty_socket_variable_leaves_the_session() {
        assert_eq!(decided(&["KINJECT_SOCKET="]), None);
        let environment = Environment::new(&["KINJECT_SOCKET="]);
        assert!(leaves(environment.array.as_ptr()));
        assert!(!leaves(Environment::new(&COMPLETE).array.as_ptr()));
    }

    #[test]
    fn library_follows_those_that_are_preloaded_already() {
        for (preload, separator) in [("libm.so.6", true), ("", false)] {
            let entry = format!("LD_PRELOAD={preload}");
            let mut entries = COMPLETE;
            entries[4] = &entry;
            let (missing, written) = decided(&entries).unwrap();
            assert!(missing.is_empty(), "{missing:?}");
            let expected = (Some(4), preload.to_owned(), separator, "/k.so".to_owned());
            assert_eq!(written, Some(expected), "{preload}");
        }
    }

    #[test]
    fn library_of_the_same_name_in_another_folder_is_another_one() {
        let mut entries = COMPLETE;
        entries[4] = "LD_PRELOAD=/other/k.so:/k.so.1";
        assert!(decided(&entries).is_some());
        entries[4] = "LD_PRELOAD=libm.so.6 /k.so:later.so";
        assert_eq!(decided(&entries), None);
    }

    #[test]
    fn variable_of_another_value_is_kept() {
        let mut entries = COMPLETE;
        entries[3] = "KINJECT_SESSION=another";
        assert_eq!(decided(&entries), None);
    }
}
