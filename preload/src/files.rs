//! open(2), openat(2), fopen(3) and their other names in libc, among them those for fortified and large-file programs.
//!
//! A program that speaks with name servers itself reads `/etc/resolv.conf`. In a session it gets the pod's, which lies
//! in the session's folder, and so the pod's search list and the cluster's name server. Only reading is turned
//! there, and only by this very path. Everything else, and the rest of libc, whose own reading comes by no hook, sees
//! the machine's file.
//!
//! What is asked about the file without opening it is answered likewise ([`status`]).
//!
//! The kernel opens what the program asked for first: it reads the path, so that a pointer to nowhere is `EFAULT` as
//! ever, and the descriptor has the number that it would have. Then another file is put under it.

//!
//! A program that does not see that folder, in a mount namespace or a root of its own, gets the file from the relay. In
//! another network namespace, where the relay is not to be had either, it sees the file that lies there.

mod status;

pub(crate) use status::{Question, asked_in_session};

use crate::control::{self, AskError};
use crate::errno::{self, Errno};
use crate::real;
use crate::session::Session;
use crate::sys;
use crate::user;
use kinject_protocol::control::Request;
use kinject_protocol::environment::RESOLV_CONF;
use libc::{FILE, c_char, c_int, mode_t, sockaddr_un};

/// The file that is turned.
const TURNED: &[u8] = b"/etc/resolv.conf\0";

/// Room for the path of a socket and a name beside it.
const LONGEST_PATH: usize = 108 + RESOLV_CONF.len() + 1;

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

/// `extern "C"` functions that call libc's one with their own arguments and see to the descriptor.
macro_rules! opening {
    ($($real:ident: $name:ident($($argument:ident: $type:ty),*) of $path:ident, $flags:ident;)*) => {$(
        extern "C" fn $name($($argument: $type),*) -> c_int {
            let Some(native) = real::$real.get() else {
                return Errno(libc::ENOSYS).fail();
            };
            // SAFETY: these are the program's own arguments; a mode that it did not give is a register that libc
            // does not look at either
            let opened = unsafe { native($($argument),*) };
            opened_in_session(opened, $path, $flags)
        }
    )*};
}

opening! {
    open: open_in_session(path: *const c_char, flags: c_int, mode: mode_t) of path, flags;
    open64: open64_in_session(path: *const c_char, flags: c_int, mode: mode_t) of path, flags;
    __open: open_alias_in_session(path: *const c_char, flags: c_int, mode: mode_t) of path, flags;
    __open64: open64_alias_in_session(path: *const c_char, flags: c_int, mode: mode_t) of path, flags;
    openat: openat_in_session(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) of path, flags;
    openat64: openat64_in_session(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) of path, flags;
    __open_2: open_2_in_session(path: *const c_char, flags: c_int) of path, flags;
    __open64_2: open64_2_in_session(path: *const c_char, flags: c_int) of path, flags;
    __openat_2: openat_2_in_session(folder: c_int, path: *const c_char, flags: c_int) of path, flags;
    __openat64_2: openat64_2_in_session(folder: c_int, path: *const c_char, flags: c_int) of path, flags;
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

/// Puts the pod's file under a descriptor of the machine's, if that is what the program opened.
#[inline]
pub(crate) fn opened_in_session(opened: c_int, path: *const c_char, flags: c_int) -> c_int {
    const WRITING: c_int = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_PATH;
    if flags & WRITING != libc::O_RDONLY || !is_redirected(opened >= 0, path) {
        return opened;
    }
    errno::kept(|| reopen(opened, flags)).unwrap_or_else(|error| error.fail())
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
        Err(error) if is_hidden(error) && flags & libc::O_DIRECTORY == 0 => match handed(&session, error) {
            Handed::File(file) => Ok(file),
            Handed::Native => return native(),
            Handed::Failed(error) => Err(error),
        },
        own => own,
    };
    if opened < 0 {
        return own.and_then(|own| {
            sys::fcntl(own.raw(), libc::F_SETFD, close_on_exec(flags))?;
            Ok(own.into_raw())
        });
    }
    let put = own.and_then(|own| sys::replace(&own, opened, flags & libc::O_CLOEXEC));
    if put.is_err() {
        sys::close(opened);
    }
    put.map(|()| opened)
}

/// The flag of a descriptor (fcntl(2)) that a flag of open(2) asks for.
fn close_on_exec(flags: c_int) -> c_int {
    if flags & libc::O_CLOEXEC == 0 {
        0
    } else {
        libc::FD_CLOEXEC
    }
}

/// Does a failure to open the pod's file mean that its folder is not to be seen here?
fn is_hidden(error: Errno) -> bool {
    matches!(error.0, libc::ENOENT | libc::EACCES | libc::ENOTDIR)
}

/// What the relay gives a program that does not see the session's folder.
enum Handed {
    /// The pod's file.
    File(sys::Descriptor),
    /// It is the machine's file that counts.
    Native,
    Failed(Errno),
}

/// Asks the relay for the pod's file; `missing` is the failure where it does not have it.
#[cold]
fn handed(session: &Session, missing: Errno) -> Handed {
    match control::ask_for_file(session, &Request::ResolvConf) {
        Ok(file) => match check_owner(file.raw()) {
            Ok(()) => Handed::File(file),
            Err(error) => Handed::Failed(error),
        },
        Err(AskError::Elsewhere) => Handed::Native,
        Err(AskError::NoSocket(error)) => Handed::Failed(error),
        Err(AskError::NoRelay) => Handed::Failed(missing),
    }
}

fn fopen_by(
    native: unsafe extern "C" fn(*const c_char, *const c_char) -> *mut FILE,
    asked: *const c_char,
    mode: *const c_char,
) -> *mut FILE {
    // SAFETY: these are the program's own arguments
    let opened = unsafe { native(asked, mode) };
    // SAFETY: libc read the mode a moment ago
    if !is_redirected(!opened.is_null(), asked) || !unsafe { is_for_reading(mode) } {
        return opened;
    }
    let session = errno::kept(Session::current);
    let Some(session) = session else {
        return opened;
    };
    let Some(path) = session.path().and_then(own_path) else {
        return opened;
    };
    if !opened.is_null() {
        // SAFETY: nobody else knows the stream; nothing was written that could be lost
        let _closed = errno::kept(|| unsafe { libc::fclose(opened) });
    }
    // SAFETY: the path ends with a null, and the mode is the program's
    let own = unsafe { native(path.as_ptr(), mode) };
    if own.is_null() {
        let error = Errno::current();
        if !is_hidden(error) {
            return own;
        }
        return match handed(&session, error) {
            // SAFETY: the mode is the program's
            Handed::File(file) => unsafe { stream_of(file, mode) },
            // SAFETY: these are the program's own arguments
            Handed::Native => unsafe { native(asked, mode) },
            Handed::Failed(error) => {
                error.set();
                own
            }
        };
    }
    // SAFETY: the stream is open
    match check_owner(unsafe { libc::fileno(own) }) {
        Ok(()) => own,
        Err(error) => {
            // SAFETY: nobody else knows the stream; nothing was written that could be lost
            let _closed = unsafe { libc::fclose(own) };
            error.set();
            core::ptr::null_mut()
        }
    }
}

/// A stream over a descriptor that is closed on exec, unless the mode has no `e`.
///
/// # Safety
///
/// `mode` has to point to a C string that says how to read.
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
        // it is the stream's from here on
        file.into_raw();
    }
    stream
}

/// Insists that the pod's file belongs to this process's user: the path of a session that has ended may be anybody's.
fn check_owner(descriptor: c_int) -> Result<(), Errno> {
    let status = sys::status(descriptor)?;
    user::is_own(status.st_uid)
        .then_some(())
        .ok_or(Errno(libc::EACCES))
}

/// Is this the path that is turned? The kernel has read it a moment ago, if the call was done or failed for what lies
/// there; for anything else it may have failed before it looked at the path.
#[inline]
fn is_redirected(is_done: bool, path: *const c_char) -> bool {
    if !is_done
        && !matches!(
            Errno::current().0,
            libc::ENOENT | libc::EACCES | libc::ENOTDIR | libc::ELOOP
        )
    {
        return false;
    }
    // what is asked of a descriptor alone needs no path (statx(2), AT_EMPTY_PATH)
    if path.is_null() {
        return false;
    }
    for (offset, expected) in TURNED.iter().enumerate() {
        // SAFETY: every byte before this one was not null, so this one is part of the path
        if unsafe { *path.wrapping_add(offset) } as u8 != *expected {
            return false;
        }
    }
    true
}

/// # Safety
///
/// `mode` has to point to a C string.
unsafe fn is_for_reading(mode: *const c_char) -> bool {
    // SAFETY: the caller vouches for it
    let mode = unsafe { core::ffi::CStr::from_ptr(mode) }.to_bytes();
    mode.starts_with(b"r") && mode.iter().all(|byte| *byte != b'+')
}

/// The pod's file, beside the relay's socket.
fn own_path(relay: sockaddr_un) -> Option<[c_char; LONGEST_PATH]> {
    let length = relay.sun_path.iter().take_while(|byte| **byte != 0).count();
    let path = relay.sun_path.get(..length)?;
    let folder = path.iter().rposition(|byte| *byte as u8 == b'/')?;
    let mut own = [0; LONGEST_PATH];
    let name = RESOLV_CONF.bytes().map(|byte| byte as c_char);
    let bytes = path.get(..=folder)?.iter().copied().chain(name);
    // the last byte stays null: the room is for the longest folder, the name and that
    for (place, byte) in own.iter_mut().zip(bytes) {
        *place = byte;
    }
    Some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(path: &str) -> sockaddr_un {
        let mut socket = sockaddr_un {
            sun_family: 1,
            sun_path: [0; 108],
        };
        for (place, byte) in socket.sun_path.iter_mut().zip(path.bytes()) {
            *place = byte as c_char;
        }
        socket
    }

    #[test]
    fn the_pods_file_lies_beside_the_relays_socket() {
        let found = |path: &str| {
            own_path(socket(path)).map(|own| {
                own.iter()
                    .take_while(|byte| **byte != 0)
                    .map(|byte| *byte as u8)
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(found("/run/x/control.sock"), Some(b"/run/x/resolv.conf".to_vec()));
        let long = format!("/{}/c", "a".repeat(104));
        assert_eq!(
            found(&long),
            Some(format!("/{}/resolv.conf", "a".repeat(104)).into_bytes())
        );
        assert_eq!(found("control.sock"), None);
    }
}
