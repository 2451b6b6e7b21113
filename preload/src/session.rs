//! Whether this process belongs to a session, and to which.
//!
//! The environment says so (`kinject_protocol::environment`), and is read anew for every call: a program may leave its
//! session on purpose by setting `KINJECT_SOCKET` to an empty string (a program of Go's cannot, see [`crate::go`]). One that
//! merely drops its environment stays: our constructor keeps a copy of the variables, made before the program's first
//! line runs. The copy is needed, since programs overwrite the memory of their first environment to change their title.

mod kept;

use crate::environment::{self, Entry};
use core::sync::atomic::{AtomicBool, Ordering};
use kinject_protocol::environment::SOCKET;
use libc::{c_char, sockaddr_un};

/// A session, as far as one call needs it.
pub(crate) struct Session {
    /// Where the relay listens; none if the variable holds what cannot be a socket's path.
    pub(crate) relay: Option<sockaddr_un>,
}

impl Session {
    /// The session of this process.
    pub(crate) fn current() -> Option<Self> {
        let path = variable(SOCKET)?.value();
        // SAFETY: entries point to C strings, and nothing changes them while this call lasts
        let is_left = unsafe { *path } == 0;
        (!is_left).then(|| Self { relay: address(path) })
    }
}

/// Whether the environment may change while it is read.
static IS_UNSTEADY: AtomicBool = AtomicBool::new(false);

/// From here on the session's variables are as they were at the start, for a program that may rightly change its
/// environment while it calls us.
#[cfg(all(target_arch = "x86_64", not(test)))]
pub(crate) fn keep_to_the_start() {
    IS_UNSTEADY.store(true, Ordering::Relaxed);
}

/// One of the session's variables, from the environment or as it was at the start.
pub(crate) fn variable(name: &'static str) -> Option<Entry> {
    if IS_UNSTEADY.load(Ordering::Relaxed) {
        return kept::find(name);
    }
    // SAFETY: environ is the program's environment: null, or an array that a null ends
    unsafe { environment::find(environment::own(), name) }.or_else(|| kept::find(name))
}

fn address(path: *const c_char) -> Option<sockaddr_un> {
    let mut address = sockaddr_un {
        sun_family: libc::AF_UNIX as libc::sa_family_t,
        sun_path: [0; 108],
    };
    for (offset, place) in address.sun_path.iter_mut().enumerate() {
        // SAFETY: every byte before this one was not null, so this one is part of the string
        *place = unsafe { *path.add(offset) };
        if *place == 0 {
            return Some(address);
        }
    }
    None
}
