//! getaddrinfo_a(3).
//!
//! libc looks names up in threads of its own, by internal calls that reach no hook. So in a session the hook itself
//! looks them up, as its getaddrinfo(3) does, before it returns; libc then notifies the program (`struct sigevent`).
//! gai_suspend(3), gai_error(3) and gai_cancel(3) read the requests and libc's own list, and so return `EAI_ALLDONE`
//! and each request's result without hooks.

use super::addrinfo::getaddrinfo_in_session;
use crate::control;
use crate::errno::{self, Errno};
use crate::real;
use libc::{addrinfo, c_char, c_int, c_void};

/// netdb.h's modes.
const GAI_WAIT: c_int = 0;
const GAI_NOWAIT: c_int = 1;

/// A request: netdb.h's `struct gaicb`.
#[repr(C)]
pub(crate) struct Gaicb {
    name: *const c_char,
    service: *const c_char,
    request: *const addrinfo,
    result: *mut addrinfo,
    /// What gai_error(3) returns.
    code: c_int,
    reserved: [c_int; 5],
}

hook! {
    unsafe fn getaddrinfo_a(
        mode: c_int,
        requests: *mut *mut crate::lookup::Gaicb,
        count: c_int,
        event: *mut c_void
    ) -> c_int => hooked {
        getaddrinfo_a_in_session(mode, requests, count, event)
    }
}

extern "C" fn getaddrinfo_a_in_session(
    mode: c_int,
    requests: *mut *mut Gaicb,
    count: c_int,
    event: *mut c_void,
) -> c_int {
    let Some(native) = real::getaddrinfo_a.get() else {
        Errno(libc::ENOSYS).set();
        return libc::EAI_SYSTEM;
    };
    let is_in_session =
        matches!(mode, GAI_WAIT | GAI_NOWAIT) && errno::preserve(control::session_of_this_network).is_some();
    if !is_in_session {
        // SAFETY: these are the program's own arguments
        return unsafe { native(mode, requests, count, event) };
    }
    for index in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: the program gives that many pointers, null or to requests
        let request = unsafe { *requests.wrapping_add(index) };
        if !request.is_null() {
            // SAFETY: as above
            unsafe { look_up(request) };
        }
    }
    if mode == GAI_WAIT {
        return 0;
    }
    // SAFETY: without requests libc only notifies the program that all are done
    unsafe { native(mode, requests, 0, event) }
}

/// # Safety
///
/// `request` has to point to a request.
unsafe fn look_up(request: *mut Gaicb) {
    // SAFETY: the caller vouches for it
    let (name, service, hints) = unsafe { ((*request).name, (*request).service, (*request).request) };
    let mut result = core::ptr::null_mut();
    let code = errno::preserve(|| getaddrinfo_in_session(name, service, hints, &raw mut result));
    // SAFETY: as above
    unsafe {
        (*request).result = result;
        (*request).code = code;
    }
}
