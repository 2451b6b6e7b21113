//! res_query(3) and res_querydomain(3): one name, asked for as it is.

use super::answer::{self, AnswerBuffer};
use super::question::Question;
use super::state::{self, State, missing};
use crate::control;
use crate::errno::{self, Errno};
use crate::failure::host_errno;
use crate::real;
use crate::session::Session;
use core::ffi::CStr;
use libc::{c_char, c_int};

/// The longest name as text, with its null (`MAXDNAME`).
const MAX_NAME: usize = 1025;

macro_rules! hooks {
    ($($query:ident, $nquery:ident, $querydomain:ident, $nquerydomain:ident => $a:ident, $b:ident, $c:ident, $d:ident;)*) => {$(
        hook! {
            unsafe fn $query(name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, size: c_int) -> c_int => $a {
                res_query_in_session(name, class, kind, answer, size)
            }
        }

        hook! {
            unsafe fn $nquery(
                state: *mut crate::resolver::State,
                name: *const c_char,
                class: c_int,
                kind: c_int,
                answer: *mut u8,
                size: c_int
            ) -> c_int => $b {
                res_nquery_in_session(state, name, class, kind, answer, size)
            }
        }

        hook! {
            unsafe fn $querydomain(
                name: *const c_char,
                domain: *const c_char,
                class: c_int,
                kind: c_int,
                answer: *mut u8,
                size: c_int
            ) -> c_int => $c {
                res_querydomain_in_session(name, domain, class, kind, answer, size)
            }
        }

        hook! {
            unsafe fn $nquerydomain(
                state: *mut crate::resolver::State,
                name: *const c_char,
                domain: *const c_char,
                class: c_int,
                kind: c_int,
                answer: *mut u8,
                size: c_int
            ) -> c_int => $d {
                res_nquerydomain_in_session(state, name, domain, class, kind, answer, size)
            }
        }
    )*};
}

hooks! {
    res_query, res_nquery, res_querydomain, res_nquerydomain => hooked_a, hooked_b, hooked_c, hooked_d;
    __res_query, __res_nquery, __res_querydomain, __res_nquerydomain => hooked_e, hooked_f, hooked_g, hooked_h;
}

extern "C" fn res_query_in_session(
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut u8,
    size: c_int,
) -> c_int {
    let Some(session) = errno::kept(|| for_session(name, answer)) else {
        return match real::res_query.get() {
            // SAFETY: these are the program's own arguments
            Some(native) => unsafe { native(name, class, kind, answer, size) },
            None => missing(),
        };
    };
    // SAFETY: the state is libc's; the name is a C string and the answer's buffer as large as it says, as libc trusts
    unsafe {
        query(
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

extern "C" fn res_nquery_in_session(
    state: *mut State,
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut u8,
    size: c_int,
) -> c_int {
    let session = errno::kept(|| for_session(name, answer));
    let (Some(session), false) = (session, state.is_null()) else {
        return match real::res_nquery.get() {
            // SAFETY: these are the program's own arguments
            Some(native) => unsafe { native(state, name, class, kind, answer, size) },
            None => missing(),
        };
    };
    // SAFETY: as above, and the state is the program's
    unsafe {
        query(
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

extern "C" fn res_querydomain_in_session(
    name: *const c_char,
    domain: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut u8,
    size: c_int,
) -> c_int {
    let Some(session) = errno::kept(|| for_session(name, answer)) else {
        return match real::res_querydomain.get() {
            // SAFETY: these are the program's own arguments
            Some(native) => unsafe { native(name, domain, class, kind, answer, size) },
            None => missing(),
        };
    };
    let state = state::of_this_thread();
    // SAFETY: as for res_query, and the domain is a C string or null
    unsafe {
        query_domain(
            &session,
            state,
            name,
            domain,
            class,
            kind,
            AnswerBuffer::new(answer, size),
            size,
        )
    }
}

extern "C" fn res_nquerydomain_in_session(
    state: *mut State,
    name: *const c_char,
    domain: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut u8,
    size: c_int,
) -> c_int {
    let session = errno::kept(|| for_session(name, answer));
    let (Some(session), false) = (session, state.is_null()) else {
        return match real::res_nquerydomain.get() {
            // SAFETY: these are the program's own arguments
            Some(native) => unsafe { native(state, name, domain, class, kind, answer, size) },
            None => missing(),
        };
    };
    // SAFETY: as above, and the state is the program's
    unsafe {
        query_domain(
            &session,
            state,
            name,
            domain,
            class,
            kind,
            AnswerBuffer::new(answer, size),
            size,
        )
    }
}

/// The session, unless the call is libc's business: one of another network namespace, or that libc would not survive either.
pub(super) fn for_session(name: *const c_char, answer: *mut u8) -> Option<Session> {
    if name.is_null() || answer.is_null() {
        return None;
    }
    control::session_of_this_network()
}

/// # Safety
///
/// `state` has to point to a resolver's state, `name` to a C string.
pub(super) unsafe fn query(
    session: &Session,
    state: *mut State,
    name: *const c_char,
    class: c_int,
    kind: c_int,
    place: AnswerBuffer,
    size: c_int,
) -> c_int {
    // SAFETY: the caller vouches for both
    let Some(question) = errno::kept(|| unsafe { Question::new(state, name, class, kind, size) }) else {
        // SAFETY: as above
        unsafe { state::set_host_error(state, host_errno::NO_RECOVERY) };
        return -1;
    };
    // SAFETY: as above
    let wanted = unsafe { state::options(state) };
    let (host_error, error) =
        match errno::kept(|| answer::ask(session, question.bytes(), None, wanted, place)) {
            Ok(delivered) => match delivered.host_error() {
                None => return delivered.length,
                Some(host_error) => (host_error, None),
            },
            Err(refusal) => (refusal.host_error(), refusal.errno()),
        };
    // SAFETY: as above
    unsafe { fail(state, host_error, error) }
}

/// # Safety
///
/// `state` has to point to a resolver's state.
pub(super) unsafe fn fail(state: *mut State, host_error: c_int, error: Option<Errno>) -> c_int {
    if let Some(error) = error {
        error.set();
    }
    // SAFETY: the caller vouches for it
    unsafe { state::set_host_error(state, host_error) };
    -1
}

/// # Safety
///
/// As for [`query`]; `domain` has to be null or point to a C string.
#[allow(clippy::too_many_arguments, reason = "they are those of res_nquerydomain(3)")]
unsafe fn query_domain(
    session: &Session,
    state: *mut State,
    name: *const c_char,
    domain: *const c_char,
    class: c_int,
    kind: c_int,
    place: AnswerBuffer,
    size: c_int,
) -> c_int {
    // SAFETY: the caller vouches for the name
    let is_empty = unsafe { *name } == 0;
    if domain.is_null() && is_empty {
        // SAFETY: the caller vouches for the state
        return unsafe { fail(state, host_errno::NO_RECOVERY, None) };
    }
    if domain.is_null() {
        // SAFETY: the caller vouches for all of it
        return unsafe { query(session, state, name, class, kind, place, size) };
    }
    let mut whole = [0; MAX_NAME];
    // SAFETY: both are C strings
    let (name, domain) = unsafe { (CStr::from_ptr(name), CStr::from_ptr(domain)) };
    if !join(&mut whole, name.to_bytes(), domain.to_bytes()) {
        // SAFETY: the caller vouches for the state
        return unsafe { fail(state, host_errno::NO_RECOVERY, None) };
    }
    // SAFETY: the text ends with a null, as the array was longer than what was written
    unsafe { query(session, state, whole.as_ptr(), class, kind, place, size) }
}

/// Writes `name.domain`, if it fits with its null.
fn join(whole: &mut [c_char; MAX_NAME], name: &[u8], domain: &[u8]) -> bool {
    let length = name.len().saturating_add(1).saturating_add(domain.len());
    if length >= MAX_NAME {
        return false;
    }
    let bytes = name.iter().chain(b".").chain(domain);
    for (place, byte) in whole.iter_mut().zip(bytes) {
        *place = *byte as c_char;
    }
    true
}
