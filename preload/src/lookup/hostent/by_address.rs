//! gethostbyaddr(3) and gethostbyaddr_r(3).
//!
//! A length beyond that of the family's addresses is accepted, as by glibc. We deviate in the entry: its `h_length`
//! is that of the family, where glibc repeats the program's.

#![allow(clippy::too_many_arguments, reason = "they are those of gethostbyaddr_r(3)")]

use super::super::reverse::{self, Reversed};
use super::entry::{self, Content, Space};
use super::own_buffer::{Caller, OwnBuffer};
use super::{Allocation, Refusal, finish_in_buffer, finish_in_own_buffer, missing};
use crate::errno::{self, Errno};
use crate::real;
use crate::session::Session;
use core::net::IpAddr;
use libc::{c_char, c_int, c_void, hostent, size_t, socklen_t};

hook! {
    unsafe fn gethostbyaddr(address: *const c_void, length: socklen_t, family: c_int) -> *mut hostent => hooked {
        gethostbyaddr_in_session(address, length, family)
    }
}

hook! {
    unsafe fn gethostbyaddr_r(
        address: *const c_void,
        length: socklen_t,
        family: c_int,
        entry: *mut hostent,
        buffer: *mut c_char,
        size: size_t,
        result: *mut *mut hostent,
        error: *mut c_int
    ) -> c_int => hooked_r {
        gethostbyaddr_r_in_session(address, length, family, entry, buffer, size, result, error)
    }
}

/// The address that the relay looks up, unless libc does the call.
fn for_session(address: *const c_void, length: socklen_t, family: c_int) -> Option<(Session, IpAddr)> {
    if address.is_null() {
        return None;
    }
    let ip = match (family, length) {
        // SAFETY: the program gives that many bytes, as libc trusts too
        (libc::AF_INET, 4..) => IpAddr::from(unsafe { address.cast::<[u8; 4]>().read_unaligned() }),
        // SAFETY: as above
        (libc::AF_INET6, 16..) => IpAddr::from(unsafe { address.cast::<[u8; 16]>().read_unaligned() }),
        _ => return None,
    };
    if !reverse::is_for_relay(ip) {
        return None;
    }
    Some((Session::current()?, ip))
}

/// Who answers a call.
enum Answer<T> {
    /// libc.
    Native,
    /// The relay, with this result.
    Done(T),
}

extern "C" fn gethostbyaddr_in_session(
    address: *const c_void,
    length: socklen_t,
    family: c_int,
) -> *mut hostent {
    let answer = match errno::preserve(|| for_session(address, length, family)) {
        Some((session, ip)) => errno::preserve(|| answer_in_own_buffer(&session, ip)),
        None => Answer::Native,
    };
    match answer {
        Answer::Done(answer) => finish_in_own_buffer(answer),
        Answer::Native => match real::gethostbyaddr.get() {
            // SAFETY: these are the program's own arguments
            Some(native) => unsafe { native(address, length, family) },
            None => missing(),
        },
    }
}

extern "C" fn gethostbyaddr_r_in_session(
    address: *const c_void,
    length: socklen_t,
    family: c_int,
    entry: *mut hostent,
    buffer: *mut c_char,
    size: size_t,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    let answer = match errno::preserve(|| for_session(address, length, family)) {
        Some((session, ip)) => errno::preserve(|| {
            // SAFETY: as libc, we trust the program that its buffer is as large as it says
            ask(&session, ip, |content| unsafe {
                entry::write(Space::new(buffer, size), content)
            })
        }),
        None => Answer::Native,
    };
    match answer {
        // SAFETY: as libc, we trust the program that its pointers are writable
        Answer::Done(answer) => unsafe { finish_in_buffer(answer, entry, result, error) },
        Answer::Native => match real::gethostbyaddr_r.get() {
            // SAFETY: these are the program's own arguments
            Some(native) => unsafe { native(address, length, family, entry, buffer, size, result, error) },
            None => libc::ENOSYS,
        },
    }
}

fn answer_in_own_buffer(session: &Session, ip: IpAddr) -> Answer<Result<*mut hostent, Refusal>> {
    ask(session, ip, |content| {
        OwnBuffer::of_this_thread(Caller::ByAddress)?.fill(content)
    })
}

/// Asks the relay and writes its answer.
fn ask<T>(
    session: &Session,
    ip: IpAddr,
    write: impl FnOnce(&Content<'_>) -> Result<T, Refusal>,
) -> Answer<Result<T, Refusal>> {
    let Some(mut reply) = Allocation::new() else {
        return Answer::Done(Err(Refusal::System(Errno(libc::ENOMEM))));
    };
    let answer = match reverse::ask(session, ip, &mut reply) {
        Ok(Reversed::Local) => return Answer::Native,
        Ok(Reversed::Names(names)) => write(&Content::of_address(ip, names)),
        Err(not_found) => Err(not_found.into()),
    };
    Answer::Done(answer)
}
