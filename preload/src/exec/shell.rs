//! system(3) and popen(3).
//!
//! They start a shell with the program's own environment, by internal calls of libc that reach no hook. So the hooks
//! first put the session's variables back that the program removed from its environment, by setenv(3), whose
//! restrictions for programs with threads hold.

use super::copy::with_own;
use crate::environment;
use crate::errno::Errno;
use crate::real;
use core::ptr;
use kinject_protocol::environment::{KEPT, LD_PRELOAD};
use libc::{FILE, c_char, c_int};

/// More than the longest name and its null.
const NAME_SIZE: usize = 32;

hook! {
    unsafe fn system(command: *const c_char) -> c_int => hooked_system {
        system_in_session(command)
    }
}

hook! {
    unsafe fn popen(command: *const c_char, mode: *const c_char) -> *mut FILE => hooked_popen {
        popen_in_session(command, mode)
    }
}

hook! {
    unsafe fn _IO_popen(command: *const c_char, mode: *const c_char) -> *mut FILE => hooked_popen_alias {
        popen_alias_in_session(command, mode)
    }
}

extern "C" fn system_in_session(command: *const c_char) -> c_int {
    let Some(native) = real::system.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    // null asks whether a shell is available
    if !command.is_null() {
        complete_environment();
    }
    // SAFETY: this is the program's own argument
    unsafe { native(command) }
}

extern "C" fn popen_in_session(command: *const c_char, mode: *const c_char) -> *mut FILE {
    popen_by(real::popen.get(), command, mode)
}

extern "C" fn popen_alias_in_session(command: *const c_char, mode: *const c_char) -> *mut FILE {
    popen_by(real::_IO_popen.get(), command, mode)
}

/// libc's function.
type Popen = unsafe extern "C" fn(*const c_char, *const c_char) -> *mut FILE;

fn popen_by(native: Option<Popen>, command: *const c_char, mode: *const c_char) -> *mut FILE {
    let Some(native) = native else {
        Errno(libc::ENOSYS).set();
        return ptr::null_mut();
    };
    complete_environment();
    // SAFETY: these are the program's own arguments
    unsafe { native(command, mode) }
}

/// Puts the missing variables back; without memory for a variable it stays missing.
fn complete_environment() {
    with_own(environment::own(), None, |complete| {
        let Some(complete) = complete else { return };
        for name in KEPT.into_iter().chain([LD_PRELOAD]) {
            // SAFETY: this is an environment
            if let Some(entry) = unsafe { environment::find(complete, name) } {
                set(name, entry.value());
            }
        }
    });
}

fn set(name: &str, value: *const c_char) {
    let mut text = [0_u8; NAME_SIZE];
    let fields = text.iter_mut().take(NAME_SIZE - 1);
    fields.zip(name.bytes()).for_each(|(field, byte)| *field = byte);
    // SAFETY: a null follows the name, and the value is a C string; libc copies both
    let _is_set = unsafe { libc::setenv(text.as_ptr().cast(), value, 1) } == 0;
}

// a truncated name would be another name
const _: () = {
    let mut index = 0;
    while index < KEPT.len() {
        assert!(KEPT[index].len() < NAME_SIZE);
        index += 1;
    }
};
