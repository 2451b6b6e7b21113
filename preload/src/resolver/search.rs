//! res_search(3): a name that the search list completes.
//!
//! The relay searches with the pod's list. It gets the search options of the state; the state's own list and `ndots`,
//! which come from this machine's resolv.conf, are ignored.

use super::query::{Query, fail};
use super::state::{self, Options, State, bits, missing};
use crate::failure::host_errno;
use crate::real;
use crate::session::Session;
use core::ffi::CStr;
use kinject_protocol::control::Search;
use libc::{c_char, c_int};

macro_rules! hooks {
    ($($search:ident, $nsearch:ident => $a:ident, $b:ident;)*) => {$(
        hook! {
            unsafe fn $search(
                name: *const c_char,
                class: c_int,
                kind: c_int,
                answer: *mut u8,
                size: c_int
            ) -> c_int => $a {
                res_search_in_session(name, class, kind, answer, size)
            }
        }

        hook! {
            unsafe fn $nsearch(
                state: *mut crate::resolver::State,
                name: *const c_char,
                class: c_int,
                kind: c_int,
                answer: *mut u8,
                size: c_int
            ) -> c_int => $b {
                res_nsearch_in_session(state, name, class, kind, answer, size)
            }
        }
    )*};
}

hooks! {
    res_search, res_nsearch => hooked_a, hooked_b;
    __res_search, __res_nsearch => hooked_c, hooked_d;
}

extern "C" fn res_search_in_session(
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut u8,
    size: c_int,
) -> c_int {
    let query = Query::new(name, class, kind, answer, size);
    let native = || match real::res_search.get() {
        // SAFETY: these are the program's own arguments
        Some(native) => unsafe { native(name, class, kind, answer, size) },
        None => missing(),
    };
    // SAFETY: the state is libc's; the name is a C string and the answer's buffer as large as it says, as libc trusts
    query.or_native(state::of_this_thread, native, |session, state| unsafe {
        search(query, session, state)
    })
}

extern "C" fn res_nsearch_in_session(
    state: *mut State,
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut u8,
    size: c_int,
) -> c_int {
    let query = Query::new(name, class, kind, answer, size);
    let native = || match real::res_nsearch.get() {
        // SAFETY: these are the program's own arguments
        Some(native) => unsafe { native(state, name, class, kind, answer, size) },
        None => missing(),
    };
    query.or_native(
        || state,
        native,
        // SAFETY: name and answer are the program's own arguments, as libc expects them, and so is the state
        |session, state| unsafe { search(query, session, state) },
    )
}

/// # Safety
///
/// As for [`Query::ask`].
unsafe fn search(query: Query, session: &Session, state: *mut State) -> c_int {
    // SAFETY: the caller vouches for the name
    let name = unsafe { CStr::from_ptr(query.name) }.to_bytes();
    match decide(name) {
        // SAFETY: the caller vouches for the state
        Decision::NoRecovery => return unsafe { fail(state, host_errno::NO_RECOVERY, None) },
        // SAFETY: the caller vouches for all of it
        Decision::Name => return unsafe { query.ask(session, state) },
        Decision::Search => {}
    }
    // SAFETY: as above
    match unsafe { query.deliver(session, state, |options| Some(search_options(options))) } {
        Ok(delivered) => delivered.length,
        // SAFETY: as above
        Err((host_error, error)) => unsafe { fail(state, host_error, error) },
    }
}

/// What res_search(3) does with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// It completes the name by the search list.
    Search,
    /// It asks for the name as it is, since a dot ends it.
    Name,
    /// It fails, since there is no name.
    NoRecovery,
}

fn decide(name: &[u8]) -> Decision {
    match name {
        [] => Decision::NoRecovery,
        [.., b'.'] => Decision::Name,
        _ => Decision::Search,
    }
}

fn search_options(options: Options) -> Search {
    Search {
        default_names: options.has(bits::DEFAULT_NAMES),
        domains: options.has(bits::DOMAINS),
        no_top_level: options.has(bits::NO_TOP_LEVEL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolver::state::options_of_bits;

    #[test]
    fn name_is_searched_for_unless_a_dot_ends_it() {
        for (name, expected) in [
            (&b"web"[..], Decision::Search),
            (b"web.default", Decision::Search),
            (b"web.", Decision::Name),
            (b".", Decision::Name),
            (b"", Decision::NoRecovery),
        ] {
            assert_eq!(decide(name), expected, "{name:?}");
        }
    }

    #[test]
    fn search_has_the_options_of_the_state() {
        for bit in [bits::DEFAULT_NAMES, bits::DOMAINS, bits::NO_TOP_LEVEL] {
            let expected = Search {
                default_names: bit == bits::DEFAULT_NAMES,
                domains: bit == bits::DOMAINS,
                no_top_level: bit == bits::NO_TOP_LEVEL,
            };
            assert_eq!(search_options(options_of_bits(bit)), expected);
        }
    }
}
