//! system(3) and popen(3).
//!
//! They start a shell with the program's own environment, from inside of libc, where no hook sees it. So what the session
//! needs and the program took out of its environment is put back there first, as setenv(3) does it: with what holds
//! for that function in programs with threads.

use super::copy::with_own;
use crate::environment;
use crate::errno::Errno;
use crate::real;
use core::ptr;
use kinject_protocol::environment::{KEPT, LD_PRELOAD};
use libc::{FILE, c_char, c_int};

/// Longer than each of the names.
const NAME_ROOM: usize = 32;

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
    // null asks whether there is a shell
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

/// Puts back what is missing; what there is no memory for stays missing.
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
    let mut text = [0_u8; NAME_ROOM];
    let room = text.iter_mut().take(NAME_ROOM - 1);
    room.zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    // SAFETY: a null follows the name, and the value is a C string; libc copies both
    let _is_set = unsafe { libc::setenv(text.as_ptr().cast(), value, 1) } == 0;
}

// a name that does not fit would be another name
const _: () = {
    let mut index = 0;
    while index < KEPT.len() {
        assert!(KEPT[index].len() < NAME_ROOM);
        index += 1;
    }
};
