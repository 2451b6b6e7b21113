//! Whether this process belongs to a session, and to which.
//!
//! The environment at the start of the program decides (`kinject_protocol::environment`): our constructor copies the
//! session's variables before `main`, and every call reads the copy. Later changes of the program's environment take
//! effect in the programs that it starts alone ([`crate::exec`]): another thread may change and free the array while
//! a hook reads it (setenv(3)), and programs overwrite the memory of their first environment to change their title.

mod environment_snapshot;

use crate::environment::{self, Entry};
use core::ffi::CStr;
use core::ptr;
use kinject_protocol::control::ControlAddress;
use kinject_protocol::environment::{CONTROL, SOCKET};
use libc::{c_char, sockaddr_un};

/// A session, as far as one call needs it.
pub(crate) struct Session {
    /// The value of [`SOCKET`].
    path: *const c_char,
    /// The value of [`CONTROL`], or null.
    control: *const c_char,
}

impl Session {
    /// The session of this process.
    pub(crate) fn current() -> Option<Self> {
        let path = variable(SOCKET)?.value();
        // SAFETY: entries point to C strings, and nothing changes them while this call lasts
        let is_left = unsafe { *path } == 0;
        if is_left {
            return None;
        }
        let control = variable(CONTROL).map_or(ptr::null(), Entry::value);
        Some(Self { path, control })
    }

    /// How the relay is reached; none if the variable is missing or malformed.
    pub(crate) fn relay(&self) -> Option<ControlAddress<'_>> {
        if self.control.is_null() {
            return None;
        }
        // SAFETY: as above
        ControlAddress::parse(unsafe { CStr::from_ptr(self.control) }.to_bytes())
    }

    /// The path at which the relay listens; none if the variable is too long for one.
    pub(crate) fn path(&self) -> Option<sockaddr_un> {
        address(self.path)
    }
}

/// Whether the session's variables were copied, so that they do not change any more.
pub(crate) fn is_fixed() -> bool {
    environment_snapshot::is_complete()
}

/// One of the session's variables as it was at the start.
pub(crate) fn variable(name: &'static str) -> Option<Entry> {
    if environment_snapshot::is_complete() {
        return environment_snapshot::find(name);
    }
    // SAFETY: environ is the program's environment, null or an array that a null ends; before our constructor only
    // those of other libraries run, one after the other
    unsafe { environment::find(environment::own(), name) }
}

fn address(path: *const c_char) -> Option<sockaddr_un> {
    let mut address = sockaddr_un {
        sun_family: libc::AF_UNIX as libc::sa_family_t,
        sun_path: [0; 108],
    };
    for (offset, byte) in address.sun_path.iter_mut().enumerate() {
        // SAFETY: every byte before this one was not null, so this one is part of the string
        *byte = unsafe { *path.add(offset) };
        if *byte == 0 {
            return Some(address);
        }
    }
    None
}
