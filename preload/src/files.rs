//! open(2), openat(2), fopen(3) and their other names in libc, among them those for fortified and large-file programs.
//!
//! A program with its own DNS client reads `/etc/resolv.conf`. In a session the hooks redirect it to the pod's file
//! in the session's folder, and so to the pod's search list and the cluster's name server. They redirect reading
//! alone, and this path alone. libc's own reading, which reaches no hook, sees the machine's file.
//!
//! Calls that ask about the file without opening it are redirected likewise ([`status`]).
//!
//! The kernel opens the program's path first: it checks the pointer, which fails with `EFAULT` as ever, and gives the
//! descriptor its number. Then the hook replaces the open file by dup3(2).
//!
//! A program that does not see the session's folder, in a mount namespace or root directory of its own, gets the file
//! from the relay. In another network namespace without that folder it gets the machine's file.

mod redirection;
mod status;

pub(crate) use status::{
    Question, asked_in_session, lstat_in_session, lxstat_in_session, stat_in_session, xstat_in_session,
};

use crate::control::{self, AskError};
use crate::errno::{self, Errno};
use crate::paths::{self, Action, Native, Spec};
use crate::real;
use crate::session::Session;
use crate::sys;
use crate::user;
use kinject_protocol::control::Request;
use libc::{FILE, c_char, c_int, mode_t};
use redirection::{is_asked_of_relay, is_for_reading, is_hidden, is_read_mode, is_redirected, own_path};

hook! {
    unsafe fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int => hooked_open {
        open_in_session(path, flags, mode)
    }
}

hook! {
    unsafe fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int => hooked_open64 {
        open64_in_session(path, flags, mode)
    }
}

hook! {
    unsafe fn __open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int => hooked_open_alias {
        open_alias_in_session(path, flags, mode)
    }
}

hook! {
    unsafe fn __open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int => hooked_open64_alias {
        open64_alias_in_session(path, flags, mode)
    }
}

hook! {
    unsafe fn openat(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int => hooked_openat {
        openat_in_session(folder, path, flags, mode)
    }
}

hook! {
    unsafe fn openat64(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int => hooked_openat64 {
        openat64_in_session(folder, path, flags, mode)
    }
}

hook! {
    unsafe fn __open_2(path: *const c_char, flags: c_int) -> c_int => hooked_open_2 {
        open_2_in_session(path, flags)
    }
}

hook! {
    unsafe fn __open64_2(path: *const c_char, flags: c_int) -> c_int => hooked_open64_2 {
        open64_2_in_session(path, flags)
    }
}

hook! {
    unsafe fn __openat_2(folder: c_int, path: *const c_char, flags: c_int) -> c_int => hooked_openat_2 {
        openat_2_in_session(folder, path, flags)
    }
}

hook! {
    unsafe fn __openat64_2(folder: c_int, path: *const c_char, flags: c_int) -> c_int => hooked_openat64_2 {
        openat64_2_in_session(folder, path, flags)
    }
}

hook! {
    unsafe fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE => hooked_fopen {
        fopen_in_session(path, mode)
    }
}

hook! {
    unsafe fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE => hooked_fopen64 {
        fopen64_in_session(path, mode)
    }
}

hook! {
    unsafe fn _IO_fopen(path: *const c_char, mode: *const c_char) -> *mut FILE => hooked_fopen_alias {
        fopen_alias_in_session(path, mode)
    }
}

/// How the open family passes its arguments.
const OPEN: Spec = Spec::path(Action::Open(1));
const OPEN_AT: Spec = Spec::at(Action::Open(2));

/// `extern "C"` functions that call libc's function with their own arguments, or with a path below the shadow root
/// ([`paths`]), and redirect the descriptor.
macro_rules! opening {
    ($($real:ident: $name:ident($($argument:ident: $type:ty),*) of $path:ident, $flags:ident by $spec:ident;)*) => {$(
        extern "C" fn $name($($argument: $type),*) -> c_int {
            let Some(native) = real::$real.get() else {
                return Errno(libc::ENOSYS).fail();
            };
            // a mode that the program did not give is a register that libc does not look at either
            let arguments = paths::arguments![$($argument),*];
            let opened = paths::run(Native::Function(native as usize), arguments, $spec);
            opened_in_session(opened as c_int, $path, $flags)
        }
    )*};
}

opening! {
    open: open_in_session(path: *const c_char, flags: c_int, mode: mode_t) of path, flags by OPEN;
    open64: open64_in_session(path: *const c_char, flags: c_int, mode: mode_t) of path, flags by OPEN;
    __open: open_alias_in_session(path: *const c_char, flags: c_int, mode: mode_t) of path, flags by OPEN;
    __open64: open64_alias_in_session(path: *const c_char, flags: c_int, mode: mode_t) of path, flags by OPEN;
    openat: openat_in_session(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t)
        of path, flags by OPEN_AT;
    openat64: openat64_in_session(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t)
        of path, flags by OPEN_AT;
    __open_2: open_2_in_session(path: *const c_char, flags: c_int) of path, flags by OPEN;
    __open64_2: open64_2_in_session(path: *const c_char, flags: c_int) of path, flags by OPEN;
    __openat_2: openat_2_in_session(folder: c_int, path: *const c_char, flags: c_int) of path, flags by OPEN_AT;
    __openat64_2: openat64_2_in_session(folder: c_int, path: *const c_char, flags: c_int) of path, flags by OPEN_AT;
}

extern "C" fn fopen_in_session(path: *const c_char, mode: *const c_char) -> *mut FILE {
    match real::fopen.get() {
        Some(native) => fopen_by(native, path, mode),
        None => no_stream(),
    }
}

extern "C" fn fopen64_in_session(path: *const c_char, mode: *const c_char) -> *mut FILE {
    match real::fopen64.get() {
        Some(native) => fopen_by(native, path, mode),
        None => no_stream(),
    }
}

extern "C" fn fopen_alias_in_session(path: *const c_char, mode: *const c_char) -> *mut FILE {
    match real::_IO_fopen.get() {
        Some(native) => fopen_by(native, path, mode),
        None => no_stream(),
    }
}

fn no_stream() -> *mut FILE {
    Errno(libc::ENOSYS).set();
    core::ptr::null_mut()
}

/// Replaces a descriptor of the machine's file by one of the pod's.
#[inline]
pub(crate) fn opened_in_session(opened: c_int, path: *const c_char, flags: c_int) -> c_int {
    if !is_for_reading(flags) || !is_redirected(opened >= 0, Errno::current, path) {
        return opened;
    }
    errno::preserve(|| reopen(opened, flags)).unwrap_or_else(|error| error.fail())
}

#[cold]
fn reopen(opened: c_int, flags: c_int) -> Result<c_int, Errno> {
    let native = || {
        if opened >= 0 {
            Ok(opened)
        } else {
            Err(Errno::current())
        }
    };
    let Some(session) = Session::current() else {
        return native();
    };
    let Some(path) = session.path().and_then(own_path) else {
        return native();
    };
    let own = sys::open_for_program(libc::AT_FDCWD, path.as_ptr(), flags)
        .and_then(|own| check_owner(own.raw()).map(|()| own));
    let own = match own {
        Err(error) if is_asked_of_relay(error, flags) => match file_from_relay(&session, error) {
            RelayFile::File(file) => Ok(file),
            RelayFile::Native => return native(),
            RelayFile::Failed(error) => Err(error),
        },
        own => own,
    };
    if opened < 0 {
        return own.and_then(|own| {
            sys::fcntl(own.raw(), libc::F_SETFD, close_on_exec(flags))?;
            Ok(own.into_raw())
        });
    }
    let replaced = own.and_then(|own| sys::replace(&own, opened, flags & libc::O_CLOEXEC));
    if replaced.is_err() {
        sys::close(opened);
    }
    replaced.map(|()| opened)
}

/// The descriptor flag (fcntl(2)) for the flags of open(2).
fn close_on_exec(flags: c_int) -> c_int {
    if flags & libc::O_CLOEXEC == 0 {
        0
    } else {
        libc::FD_CLOEXEC
    }
}

/// The file for a program that does not see the session's folder.
enum RelayFile {
    /// The pod's, from the relay.
    File(sys::Descriptor),
    /// The machine's.
    Native,
    Failed(Errno),
}

/// Asks the relay for the pod's file; `missing` is the failure where it does not have it.
///
/// With the ABI of C, whose functions the compiler takes not to unwind.
#[cold]
#[allow(improper_ctypes_definitions, reason = "no other language calls it")]
extern "C" fn file_from_relay(session: &Session, missing: Errno) -> RelayFile {
    match control::ask_for_file(session, &Request::ResolvConf) {
        Ok(file) => match check_owner(file.raw()) {
            Ok(()) => RelayFile::File(file),
            Err(error) => RelayFile::Failed(error),
        },
        Err(error) => without_relay(error, missing),
    }
}

/// Decides which file a program gets if the relay could not be asked; `missing` is the failure to open the pod's.
fn without_relay(error: AskError, missing: Errno) -> RelayFile {
    match error {
        AskError::OtherNetwork => RelayFile::Native,
        AskError::NoSocket(error) => RelayFile::Failed(error),
        AskError::NoRelay => RelayFile::Failed(missing),
    }
}

fn fopen_by(
    native: unsafe extern "C" fn(*const c_char, *const c_char) -> *mut FILE,
    asked: *const c_char,
    mode: *const c_char,
) -> *mut FILE {
    const SPEC: Spec = Spec::path(Action::Stream(1)).with_pointer();
    let arguments = paths::arguments![asked, mode];
    let opened = paths::run(Native::Function(native as usize), arguments, SPEC) as *mut FILE;
    // SAFETY: libc read the mode as a C string, too
    if !is_redirected(!opened.is_null(), Errno::current, asked) || !unsafe { is_read_mode(mode) } {
        return opened;
    }
    let session = errno::preserve(Session::current);
    let Some(session) = session else {
        return opened;
    };
    let Some(path) = session.path().and_then(own_path) else {
        return opened;
    };
    if !opened.is_null() {
        // SAFETY: nobody else has the stream; nothing was written that could be lost
        let _closed = errno::preserve(|| unsafe { libc::fclose(opened) });
    }
    // SAFETY: the path ends with a null, and the mode is the program's
    let own = unsafe { native(path.as_ptr(), mode) };
    if own.is_null() {
        let error = Errno::current();
        if !is_hidden(error) {
            return own;
        }
        return match file_from_relay(&session, error) {
            // SAFETY: the mode is the program's
            RelayFile::File(file) => unsafe { stream_of(file, mode) },
            // SAFETY: these are the program's own arguments
            RelayFile::Native => unsafe { native(asked, mode) },
            RelayFile::Failed(error) => {
                error.set();
                own
            }
        };
    }
    // SAFETY: the stream is open
    match check_owner(unsafe { libc::fileno(own) }) {
        Ok(()) => own,
        Err(error) => {
            // SAFETY: nobody else has the stream; nothing was written that could be lost
            let _closed = unsafe { libc::fclose(own) };
            error.set();
            core::ptr::null_mut()
        }
    }
}

/// A stream over a descriptor, which is close-on-exec if the mode has an `e`.
///
/// # Safety
///
/// `mode` has to point to a C string that is a mode for reading.
unsafe fn stream_of(file: sys::Descriptor, mode: *const c_char) -> *mut FILE {
    // SAFETY: the caller vouches for it
    let closes = unsafe { !libc::strchr(mode, c_int::from(b'e')).is_null() };
    let flags = if closes { libc::FD_CLOEXEC } else { 0 };
    if let Err(error) = sys::fcntl(file.raw(), libc::F_SETFD, flags) {
        error.set();
        return core::ptr::null_mut();
    }
    // SAFETY: the descriptor is open, and the mode is the program's
    let stream = unsafe { libc::fdopen(file.raw(), mode) };
    if !stream.is_null() {
        // the stream owns it
        file.into_raw();
    }
    stream
}

/// Requires that the pod's file belongs to this process's user: after the end of a session any process may make the
/// path.
fn check_owner(descriptor: c_int) -> Result<(), Errno> {
    let status = sys::status(descriptor)?;
    user::is_own(status.st_uid)
        .then_some(())
        .ok_or(Errno(libc::EACCES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_in_other_network_gets_the_machines_file() {
        let file = without_relay(AskError::OtherNetwork, Errno(libc::ENOENT));
        assert!(matches!(file, RelayFile::Native));
    }

    #[test]
    fn program_without_relay_gets_the_error_of_the_missing_file() {
        let no_socket = AskError::NoSocket(Errno(libc::EMFILE));
        for (error, expected) in [(AskError::NoRelay, libc::ENOENT), (no_socket, libc::EMFILE)] {
            let file = without_relay(error, Errno(libc::ENOENT));
            assert!(
                matches!(file, RelayFile::Failed(Errno(found)) if found == expected),
                "{error:?}"
            );
        }
    }
}
