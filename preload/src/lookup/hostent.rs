//! gethostbyname(3), gethostbyname2(3), gethostbyaddr(3) and their reentrant variants.
//!
//! The reentrant functions put everything into the program's buffer and return `ERANGE` if it is too small, with
//! `h_errno` at `NETDB_INTERNAL`; for them an answer without an address is no error, but gives no result. The others
//! have a buffer for each thread, where glibc has one for the process: a result lives until the thread's next call or
//! its end.
//!
//! The entry of a name has no aliases, since the relay gives no other name than the canonical one; the entry of an
//! address has the address's further names as aliases.

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
use entry::{Content, Space};
use kinject_protocol::NameFailure;
use kinject_protocol::control::{Family, Purpose};
use libc::{c_char, c_int, hostent, size_t};
use own_buffer::{Caller, OwnBuffer};

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
            // libc looks up names in another network namespace, before the relay is asked
            NotFound::AskError(AskError::NoRelay | AskError::OtherNetwork) => {
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

/// The name that the relay looks up, and in which family, unless libc does the call.
fn for_session<'a>(name: *const c_char, family: c_int) -> Option<(Session, Family, &'a [u8])> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the name is a C string, as libc expects it too
    let name = unsafe { list::bytes(name) };
    let family = family_for_relay(name, family)?;
    Some((control::session_of_this_network()?, family, name))
}

/// Decides whether the relay looks a name up, and in which family; none if libc does.
fn family_for_relay(name: &[u8], family: c_int) -> Option<Family> {
    let family = match family {
        libc::AF_INET => Family::V4,
        libc::AF_INET6 => Family::V6,
        _ => return None,
    };
    (name::is_for_relay(name) && !name::is_digits_and_dots(name)).then_some(family)
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
    // SAFETY: as libc, we trust the program that its buffer is as large as it says and its pointers are writable
    unsafe {
        answer_in_buffer(
            &session,
            family,
            asked,
            entry,
            Space::new(buffer, size),
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
            Space::new(buffer, size),
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
/// `entry`, `result` and `error` have to be writable, and the buffer as well.
unsafe fn answer_in_buffer(
    session: &Session,
    family: Family,
    name: &[u8],
    entry: *mut hostent,
    space: Space,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    let answered = errno::preserve(|| {
        let mut reply = Allocation::new().ok_or(Refusal::System(Errno(libc::ENOMEM)))?;
        let found = ask(session, family, Purpose::HostEntry, name, &mut reply)?;
        // SAFETY: the caller vouches for the buffer
        unsafe { entry::write(space, &Content::of_name(family, &found, name)) }
    });
    // SAFETY: the caller vouches for the pointers
    unsafe { finish_in_buffer(answered, entry, result, error) }
}

/// Returns the result of a reentrant function.
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
    // SAFETY: the caller vouches for both pointers
    unsafe {
        *result = pointer;
        *error = host_error;
    }
    code
}

fn answer_in_own_buffer(session: &Session, family: Family, name: &[u8]) -> *mut hostent {
    finish_in_own_buffer(errno::preserve(|| {
        let mut reply = Allocation::new().ok_or(Refusal::System(Errno(libc::ENOMEM)))?;
        let found = ask(session, family, Purpose::HostEntry, name, &mut reply)?;
        OwnBuffer::of_this_thread(Caller::ByName)?.fill(&Content::of_name(family, &found, name))
    }))
}

/// Returns the result.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_name_is_looked_up_by_relay_in_an_internet_family() {
        assert_eq!(family_for_relay(b"web", libc::AF_INET), Some(Family::V4));
        assert_eq!(family_for_relay(b"web", libc::AF_INET6), Some(Family::V6));
        assert_eq!(family_for_relay(b"web", libc::AF_UNIX), None);
    }

    #[test]
    fn number_or_loopback_name_is_looked_up_by_libc() {
        for name in [&b"10.0.0.1"[..], b"1.2.3.4.5", b"localhost", b"", b"::1"] {
            assert_eq!(family_for_relay(name, libc::AF_INET), None, "{name:?}");
        }
    }

    #[test]
    fn refusal_has_its_code_and_h_errno() {
        for (refusal, code, host_error) in [
            (
                Refusal::Failed(NameFailure::NotFound),
                0,
                host_errno::HOST_NOT_FOUND,
            ),
            (Refusal::Failed(NameFailure::NoData), 0, host_errno::NO_DATA),
            (
                Refusal::Failed(NameFailure::NoRecovery),
                0,
                host_errno::NO_RECOVERY,
            ),
            (
                Refusal::Failed(NameFailure::TryAgain),
                libc::EAGAIN,
                host_errno::TRY_AGAIN,
            ),
            (Refusal::TooSmall, libc::ERANGE, host_errno::NETDB_INTERNAL),
            (
                Refusal::System(Errno(libc::ENOMEM)),
                libc::ENOMEM,
                host_errno::NETDB_INTERNAL,
            ),
        ] {
            assert_eq!((refusal.code(), refusal.host_error()), (code, host_error));
        }
    }
}
