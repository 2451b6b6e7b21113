//! res_query(3) and res_querydomain(3): one name, without a search.

use super::answer::{self, AnswerBuffer, Delivered};
use super::question::Question;
use super::state::{self, Options, State, missing};
use crate::control;
use crate::errno::{self, Errno};
use crate::failure::host_errno;
use crate::real;
use crate::session::Session;
use core::ffi::CStr;
use kinject_protocol::control::Search;
use libc::{c_char, c_int};

/// The size of the longest name as text, with its null (`MAXDNAME`).
const MAX_NAME: usize = 1025;

macro_rules! hooks {
    ($(
        $query:ident, $nquery:ident, $querydomain:ident, $nquerydomain:ident => $a:ident, $b:ident, $c:ident, $d:ident;
    )*) => {$(
        hook! {
            unsafe fn $query(
                name: *const c_char,
                class: c_int,
                kind: c_int,
                answer: *mut u8,
                size: c_int
            ) -> c_int => $a {
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
    let query = Query::new(name, class, kind, answer, size);
    let native = || match real::res_query.get() {
        // SAFETY: these are the program's own arguments
        Some(native) => unsafe { native(name, class, kind, answer, size) },
        None => missing(),
    };
    // SAFETY: the state is libc's; the name is a C string and the answer's buffer as large as it says, as libc trusts
    query.or_native(state::of_this_thread, native, |session, state| unsafe {
        query.ask(session, state)
    })
}

extern "C" fn res_nquery_in_session(
    state: *mut State,
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut u8,
    size: c_int,
) -> c_int {
    let query = Query::new(name, class, kind, answer, size);
    let native = || match real::res_nquery.get() {
        // SAFETY: these are the program's own arguments
        Some(native) => unsafe { native(state, name, class, kind, answer, size) },
        None => missing(),
    };
    query.or_native(
        || state,
        native,
        // SAFETY: name and answer are the program's own arguments, as libc expects them, and so is the state
        |session, state| unsafe { query.ask(session, state) },
    )
}

extern "C" fn res_querydomain_in_session(
    name: *const c_char,
    domain: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut u8,
    size: c_int,
) -> c_int {
    let query = Query::new(name, class, kind, answer, size);
    let native = || match real::res_querydomain.get() {
        // SAFETY: these are the program's own arguments
        Some(native) => unsafe { native(name, domain, class, kind, answer, size) },
        None => missing(),
    };
    query.or_native(
        state::of_this_thread,
        native,
        // SAFETY: name, domain and answer are the program's own arguments, as libc expects them
        |session, state| unsafe { query.ask_in_domain(session, state, domain) },
    )
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
    let query = Query::new(name, class, kind, answer, size);
    let native = || match real::res_nquerydomain.get() {
        // SAFETY: these are the program's own arguments
        Some(native) => unsafe { native(state, name, domain, class, kind, answer, size) },
        None => missing(),
    };
    query.or_native(
        || state,
        native,
        // SAFETY: name, domain and answer are the program's own arguments, as libc expects them, and so is the state
        |session, state| unsafe { query.ask_in_domain(session, state, domain) },
    )
}

/// The arguments that res_query(3), res_search(3), res_querydomain(3) and their reentrant variants share.
#[derive(Clone, Copy)]
pub(super) struct Query {
    pub(super) name: *const c_char,
    pub(super) class: c_int,
    pub(super) kind: c_int,
    answer: *mut u8,
    pub(super) size: c_int,
}

impl Query {
    pub(super) fn new(name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, size: c_int) -> Self {
        Self {
            name,
            class,
            kind,
            answer,
            size,
        }
    }

    /// Does the call by `ask` in the session's network namespace, otherwise by `native`. The latter also does a call
    /// that libc would not survive either: one without a name, a buffer or a state.
    pub(super) fn or_native(
        &self,
        state: impl FnOnce() -> *mut State,
        native: impl FnOnce() -> c_int,
        ask: impl FnOnce(&Session, *mut State) -> c_int,
    ) -> c_int {
        let in_session = errno::preserve(|| {
            if self.name.is_null() || self.answer.is_null() {
                return None;
            }
            session_and_state(state)
        });
        match in_session {
            Some((session, state)) => ask(&session, state),
            None => native(),
        }
    }

    /// Asks the relay for the records, by the search that this gives for the state's options. Otherwise gives the
    /// arguments of [`fail`].
    ///
    /// # Safety
    ///
    /// `state` has to point to a resolver's state, `name` to a C string; `answer` has to be writable for `size` bytes.
    pub(super) unsafe fn deliver(
        &self,
        session: &Session,
        state: *mut State,
        search: impl FnOnce(Options) -> Option<Search>,
    ) -> Result<Delivered, (c_int, Option<Errno>)> {
        let question = errno::preserve(|| {
            // SAFETY: the caller vouches for both
            unsafe { Question::new(state, self.name, self.class, self.kind, self.size) }
        });
        let Some(question) = question else {
            return Err((host_errno::NO_RECOVERY, None));
        };
        // SAFETY: as above
        let options = unsafe { state::options(state) };
        // SAFETY: the caller vouches for the answer's buffer
        let destination = unsafe { AnswerBuffer::new(self.answer, self.size) };
        errno::preserve(|| answer::ask(session, question.bytes(), search(options), options, destination))
            .map_err(|refusal| (refusal.host_error(), refusal.errno()))
    }

    /// # Safety
    ///
    /// As for [`Self::deliver`].
    pub(super) unsafe fn ask(self, session: &Session, state: *mut State) -> c_int {
        // SAFETY: the caller vouches for all of it
        let delivered = unsafe { self.deliver(session, state, |_| None) };
        let (host_error, error) = match delivered {
            Ok(delivered) => match delivered.host_error() {
                None => return delivered.length,
                Some(host_error) => (host_error, None),
            },
            Err(failure) => failure,
        };
        // SAFETY: as above
        unsafe { fail(state, host_error, error) }
    }

    /// # Safety
    ///
    /// As for [`Self::ask`]; `domain` has to be null or point to a C string.
    unsafe fn ask_in_domain(self, session: &Session, state: *mut State, domain: *const c_char) -> c_int {
        // SAFETY: the caller vouches for the name
        let name = unsafe { CStr::from_ptr(self.name) };
        // SAFETY: the caller vouches for the domain
        let domain = (!domain.is_null()).then(|| unsafe { CStr::from_ptr(domain) });
        let mut joined = [0; MAX_NAME];
        let name = match decide(name.to_bytes(), domain.map(CStr::to_bytes), &mut joined) {
            Decision::Name => self.name,
            Decision::Joined => joined.as_ptr(),
            // SAFETY: the caller vouches for the state
            Decision::NoRecovery => return unsafe { fail(state, host_errno::NO_RECOVERY, None) },
        };
        // SAFETY: the caller vouches for all of it; a joined name ends with a null, as the array was longer
        unsafe { Self { name, ..self }.ask(session, state) }
    }
}

/// The session and the resolver's state of a call; none if libc does the call.
pub(super) fn session_and_state(state: impl FnOnce() -> *mut State) -> Option<(Session, *mut State)> {
    let session = control::session_of_this_network()?;
    let state = state();
    (!state.is_null()).then_some((session, state))
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

/// The name that res_querydomain(3) asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// The name itself.
    Name,
    /// The name and the domain, which were joined.
    Joined,
    /// There is no name, or the joined name is too long.
    NoRecovery,
}

/// Decides which name is asked for, and joins it with the domain.
fn decide(name: &[u8], domain: Option<&[u8]>, joined: &mut [c_char; MAX_NAME]) -> Decision {
    match domain {
        None if name.is_empty() => Decision::NoRecovery,
        None => Decision::Name,
        Some(domain) if join(joined, name, domain) => Decision::Joined,
        Some(_) => Decision::NoRecovery,
    }
}

/// Writes `name.domain`, if it fits with its null.
fn join(joined: &mut [c_char; MAX_NAME], name: &[u8], domain: &[u8]) -> bool {
    let length = name.len().saturating_add(1).saturating_add(domain.len());
    if length >= MAX_NAME {
        return false;
    }
    let bytes = name.iter().chain(b".").chain(domain);
    for (field, byte) in joined.iter_mut().zip(bytes) {
        *field = *byte as c_char;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_without_domain_is_asked_for_as_it_is() {
        let mut joined = [0; MAX_NAME];
        assert_eq!(decide(b"web", None, &mut joined), Decision::Name);
        assert_eq!(decide(b"", None, &mut joined), Decision::NoRecovery);
    }

    #[test]
    fn name_and_domain_are_joined_by_a_dot() {
        let mut joined = [0; MAX_NAME];
        assert_eq!(decide(b"web", Some(b"test"), &mut joined), Decision::Joined);
        // SAFETY: the array was zeroed, and is longer than the name
        let name = unsafe { CStr::from_ptr(joined.as_ptr()) };
        assert_eq!(name, c"web.test");
    }

    #[test]
    fn joined_name_of_maxdname_or_more_is_no_recovery() {
        let domain = [b'd'; 1000];
        for (length, expected) in [(23, Decision::Joined), (24, Decision::NoRecovery)] {
            let name = vec![b'n'; length];
            let decision = decide(&name, Some(&domain), &mut [0; MAX_NAME]);
            assert_eq!(decision, expected, "{length}");
        }
    }
}
