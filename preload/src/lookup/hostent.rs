//! gethostbyname(3), gethostbyname2(3), gethostbyaddr(3) and their reentrant twins.
//!
//! The twins put everything into the program's buffer and say `ERANGE` where it is too small, with `h_errno` at
//! `NETDB_INTERNAL`; an answer without an address is no error of theirs, but leaves no result. The others keep a buffer
//! for each thread, where glibc has one for all: a result lives until the thread's next call or its end.
//!
//! A name has no aliases, since the canonical name is the only other one that the relay tells; an address has those
//! that its further names are.

mod by_address;
mod entry;
mod own_buffer;

use super::{Allocation, NotFound, ask, list, name};
use crate::control;
use crate::control::AskError;
use crate::errno::{self, Errno};
use crate::failure::{self, host_errno};
use crate::real;
use crate::session::Session;
use core::ptr;
use entry::{Content, Room};
use kinject_protocol::NameFailure;
use kinject_protocol::control::{Family, Purpose};
use libc::{c_char, c_int, hostent, size_t};
use own_buffer::{OwnBuffer, User};

unsafe extern "C" {
    fn __h_errno_location() -> *mut c_int;
}

hook! {
    unsafe fn gethostbyname(name: *const c_char) -> *mut hostent => hooked {
        gethostbyname_in_session(name)
    }
}

hook! {
    unsafe fn gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent => hooked_2 {
        gethostbyname2_in_session(name, family)
    }
}

hook! {
    unsafe fn gethostbyname_r(
        name: *const c_char,
        entry: *mut hostent,
        buffer: *mut c_char,
        size: size_t,
        result: *mut *mut hostent,
        error: *mut c_int
    ) -> c_int => hooked_r {
        gethostbyname_r_in_session(name, entry, buffer, size, result, error)
    }
}

hook! {
    unsafe fn gethostbyname2_r(
        name: *const c_char,
        family: c_int,
        entry: *mut hostent,
        buffer: *mut c_char,
        size: size_t,
        result: *mut *mut hostent,
        error: *mut c_int
    ) -> c_int => hooked_2_r {
        gethostbyname2_r_in_session(name, family, entry, buffer, size, result, error)
    }
}

/// Why there is no entry.
enum Refusal {
    Failed(NameFailure),
    /// The buffer is too small.
    TooSmall,
    System(Errno),
}

impl From<NotFound> for Refusal {
    fn from(not_found: NotFound) -> Self {
        match not_found {
            NotFound::Failed(failure) => Self::Failed(failure),
            NotFound::AskError(AskError::NoSocket(error)) => Self::System(error),
            // of a name in another network namespace libc was asked before
            NotFound::AskError(AskError::NoRelay | AskError::Elsewhere) => {
                Self::Failed(NameFailure::TryAgain)
            }
        }
    }
}

impl Refusal {
    fn host_error(&self) -> c_int {
        match self {
            Self::Failed(failure) => failure::host_error(*failure),
            Self::TooSmall | Self::System(_) => host_errno::NETDB_INTERNAL,
        }
    }

    /// What the reentrant functions return, and leave in `errno`.
    fn code(&self) -> c_int {
        match self {
            Self::Failed(NameFailure::NotFound | NameFailure::NoData | NameFailure::NoRecovery) => 0,
            Self::Failed(NameFailure::TryAgain) => libc::EAGAIN,
            Self::TooSmall => libc::ERANGE,
            Self::System(error) => error.0,
        }
    }
}

/// The name to look up, if it is not libc's business.
fn for_session<'a>(name: *const c_char, family: c_int) -> Option<(Session, Family, &'a [u8])> {
    let family = match family {
        libc::AF_INET => Family::V4,
        libc::AF_INET6 => Family::V6,
        _ => return None,
    };
    if name.is_null() {
        return None;
    }
    // SAFETY: the name is a C string, as libc expects it too
    let name = unsafe { list::bytes(name) };
    if !name::is_for_relay(name) || name::is_digits_and_dots(name) {
        return None;
    }
    Some((control::session_of_this_network()?, family, name))
}

extern "C" fn gethostbyname_in_session(name: *const c_char) -> *mut hostent {
    let Some((session, family, asked)) = for_session(name, libc::AF_INET) else {
        return match real::gethostbyname.get() {
            // SAFETY: this is the program's own argument
            Some(native) => unsafe { native(name) },
            None => missing(),
        };
    };
    answer_in_own_buffer(&session, family, asked)
}

extern "C" fn gethostbyname2_in_session(name: *const c_char, wanted: c_int) -> *mut hostent {
    let Some((session, family, asked)) = for_session(name, wanted) else {
        return match real::gethostbyname2.get() {
            // SAFETY: these are the program's own arguments
            Some(native) => unsafe { native(name, wanted) },
            None => missing(),
        };
    };
    answer_in_own_buffer(&session, family, asked)
}

extern "C" fn gethostbyname_r_in_session(
    name: *const c_char,
    entry: *mut hostent,
    buffer: *mut c_char,
    size: size_t,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    let Some((session, family, asked)) = for_session(name, libc::AF_INET) else {
        return match real::gethostbyname_r.get() {
            // SAFETY: these are the program's own arguments
            Some(native) => unsafe { native(name, entry, buffer, size, result, error) },
            None => libc::ENOSYS,
        };
    };
    // SAFETY: as libc, we trust the program that its buffer is as large as it says and the places are writable
    unsafe {
        answer_in_buffer(
            &session,
            family,
            asked,
            entry,
            Room::new(buffer, size),
            result,
            error,
        )
    }
}

extern "C" fn gethostbyname2_r_in_session(
    name: *const c_char,
    wanted: c_int,
    entry: *mut hostent,
    buffer: *mut c_char,
    size: size_t,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    let Some((session, family, asked)) = for_session(name, wanted) else {
        return match real::gethostbyname2_r.get() {
            // SAFETY: these are the program's own arguments
            Some(native) => unsafe { native(name, wanted, entry, buffer, size, result, error) },
            None => libc::ENOSYS,
        };
    };
    // SAFETY: as above
    unsafe {
        answer_in_buffer(
            &session,
            family,
            asked,
            entry,
            Room::new(buffer, size),
            result,
            error,
        )
    }
}

/// This machine's libc does not have the function.
fn missing() -> *mut hostent {
    Errno(libc::ENOSYS).set();
    set_host_error(host_errno::NETDB_INTERNAL);
    ptr::null_mut()
}

fn set_host_error(code: c_int) {
    // SAFETY: libc gives each thread an `h_errno` that lives as long as the thread
    unsafe { *__h_errno_location() = code };
}

/// # Safety
///
/// `entry`, `result` and `error` have to be writable, and the room as well.
unsafe fn answer_in_buffer(
    session: &Session,
    family: Family,
    name: &[u8],
    entry: *mut hostent,
    room: Room,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    let answered = errno::kept(|| {
        let mut reply = Allocation::new().ok_or(Refusal::System(Errno(libc::ENOMEM)))?;
        let found = ask(session, family, Purpose::HostEntry, name, &mut reply)?;
        // SAFETY: the caller vouches for the room
        unsafe { entry::write(room, &Content::of_name(family, &found, name)) }
    });
    // SAFETY: the caller vouches for the places
    unsafe { finish_in_buffer(answered, entry, result, error) }
}

/// Tells the program of a reentrant function how it went.
///
/// # Safety
///
/// `entry`, `result` and `error` have to be writable.
unsafe fn finish_in_buffer(
    answered: Result<hostent, Refusal>,
    entry: *mut hostent,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    let (code, host_error, pointer) = match answered {
        Ok(written) => {
            // SAFETY: the caller vouches for the entry
            unsafe { entry.write(written) };
            (0, host_errno::NETDB_SUCCESS, entry)
        }
        Err(refusal) => (refusal.code(), refusal.host_error(), ptr::null_mut()),
    };
    if code != 0 {
        Errno(code).set();
    }
    // SAFETY: the caller vouches for both places
    unsafe {
        *result = pointer;
        *error = host_error;
    }
    code
}

fn answer_in_own_buffer(session: &Session, family: Family, name: &[u8]) -> *mut hostent {
    finish_in_own_buffer(errno::kept(|| {
        let mut reply = Allocation::new().ok_or(Refusal::System(Errno(libc::ENOMEM)))?;
        let found = ask(session, family, Purpose::HostEntry, name, &mut reply)?;
        OwnBuffer::of_this_thread(User::ByName)?.fill(&Content::of_name(family, &found, name))
    }))
}

/// Tells the program how it went.
fn finish_in_own_buffer(answered: Result<*mut hostent, Refusal>) -> *mut hostent {
    match answered {
        Ok(entry) => entry,
        Err(refusal) => {
            if let Refusal::System(error) = &refusal {
                error.set();
            }
            set_host_error(refusal.host_error());
            ptr::null_mut()
        }
    }
}
