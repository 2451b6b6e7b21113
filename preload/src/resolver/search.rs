//! res_search(3): a name that the search list completes.
//!
//! The relay does the search with the pod's list. What the state's options say of it is passed on; its own list and
//! `ndots`, which come from this machine's resolv.conf, are not.

use super::answer::{self, AnswerBuffer};
use super::query::{fail, for_session, query};
use super::question::Question;
use super::state::{self, Options, State, missing, options};
use crate::errno;
use crate::failure::host_errno;
use crate::real;
use crate::session::Session;
use core::ffi::CStr;
use kinject_protocol::control::Search;
use libc::{c_char, c_int};

macro_rules! hooks {
    ($($search:ident, $nsearch:ident => $a:ident, $b:ident;)*) => {$(
        hook! {
            unsafe fn $search(name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, size: c_int) -> c_int => $a {
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
    let Some(session) = errno::kept(|| for_session(name, answer)) else {
        return match real::res_search.get() {
            // SAFETY: these are the program's own arguments
            Some(native) => unsafe { native(name, class, kind, answer, size) },
            None => missing(),
        };
    };
    // SAFETY: the state is libc's; the name is a C string and the answer's buffer as large as it says, as libc trusts
    unsafe {
        search(
            &session,
            state::of_this_thread(),
            name,
            class,
            kind,
            AnswerBuffer::new(answer, size),
            size,
        )
    }
}

extern "C" fn res_nsearch_in_session(
    state: *mut State,
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut u8,
    size: c_int,
) -> c_int {
    let session = errno::kept(|| for_session(name, answer));
    let (Some(session), false) = (session, state.is_null()) else {
        return match real::res_nsearch.get() {
            // SAFETY: these are the program's own arguments
            Some(native) => unsafe { native(state, name, class, kind, answer, size) },
            None => missing(),
        };
    };
    // SAFETY: as above, and the state is the program's
    unsafe {
        search(
            &session,
            state,
            name,
            class,
            kind,
            AnswerBuffer::new(answer, size),
            size,
        )
    }
}

/// # Safety
///
/// `state` has to point to a resolver's state, `name` to a C string.
unsafe fn search(
    session: &Session,
    state: *mut State,
    name: *const c_char,
    class: c_int,
    kind: c_int,
    place: AnswerBuffer,
    size: c_int,
) -> c_int {
    // SAFETY: the caller vouches for the name
    let text = unsafe { CStr::from_ptr(name) }.to_bytes();
    if text.is_empty() {
        // SAFETY: the caller vouches for the state
        return unsafe { fail(state, host_errno::NO_RECOVERY, None) };
    }
    if text.ends_with(b".") {
        // SAFETY: the caller vouches for all of it
        return unsafe { query(session, state, name, class, kind, place, size) };
    }
    // SAFETY: as above
    let Some(question) = errno::kept(|| unsafe { Question::new(state, name, class, kind, size) }) else {
        // SAFETY: as above
        return unsafe { fail(state, host_errno::NO_RECOVERY, None) };
    };
    // SAFETY: as above
    let wanted = unsafe { state::options(state) };
    let how = Some(how_to_search(wanted));
    match errno::kept(|| answer::ask(session, question.bytes(), how, wanted, place)) {
        Ok(delivered) => delivered.length,
        // SAFETY: as above
        Err(refusal) => unsafe { fail(state, refusal.host_error(), refusal.errno()) },
    }
}

fn how_to_search(wanted: Options) -> Search {
    Search {
        default_names: wanted.has(options::DEFAULT_NAMES),
        domains: wanted.has(options::DOMAINS),
        no_top_level: wanted.has(options::NO_TOP_LEVEL),
    }
}
