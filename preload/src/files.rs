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

/// The path that is redirected.
const RESOLV_CONF_PATH: &[u8] = b"/etc/resolv.conf\0";

/// The size of the longest path of a file beside a socket.
const MAX_PATH: usize = 108 + RESOLV_CONF.len() + 1;

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

/// `extern "C"` functions that call libc's function with their own arguments and redirect the descriptor.
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

/// Replaces a descriptor of the machine's file by one of the pod's.
#[inline]
pub(crate) fn opened_in_session(opened: c_int, path: *const c_char, flags: c_int) -> c_int {
    if !is_for_reading(flags) || !is_redirected(opened >= 0, Errno::current, path) {
        return opened;
    }
    errno::preserve(|| reopen(opened, flags)).unwrap_or_else(|error| error.fail())
}

/// Do these flags open a file that exists, and for reading alone?
#[inline]
fn is_for_reading(flags: c_int) -> bool {
    const OTHER: c_int = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_PATH;
    flags & OTHER == libc::O_RDONLY
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
        Err(error) if is_hidden(error) && flags & libc::O_DIRECTORY == 0 => {
            match file_from_relay(&session, error) {
                RelayFile::File(file) => Ok(file),
                RelayFile::Native => return native(),
                RelayFile::Failed(error) => Err(error),
            }
        }
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

/// Does a failure to open the pod's file mean that this process does not see its folder?
fn is_hidden(error: Errno) -> bool {
    matches!(error.0, libc::ENOENT | libc::EACCES | libc::ENOTDIR)
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
#[cold]
fn file_from_relay(session: &Session, missing: Errno) -> RelayFile {
    match control::ask_for_file(session, &Request::ResolvConf) {
        Ok(file) => match check_owner(file.raw()) {
            Ok(()) => RelayFile::File(file),
            Err(error) => RelayFile::Failed(error),
        },
        Err(AskError::OtherNetwork) => RelayFile::Native,
        Err(AskError::NoSocket(error)) => RelayFile::Failed(error),
        Err(AskError::NoRelay) => RelayFile::Failed(missing),
    }
}

fn fopen_by(
    native: unsafe extern "C" fn(*const c_char, *const c_char) -> *mut FILE,
    asked: *const c_char,
    mode: *const c_char,
) -> *mut FILE {
    // SAFETY: these are the program's own arguments
    let opened = unsafe { native(asked, mode) };
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

/// Is this call's path redirected?
///
/// The path is read here only if the kernel has read it: if the call succeeded (`is_done`), or failed with an error
/// of the path's files. After every other error the pointer may be invalid.
#[inline]
fn is_redirected(is_done: bool, error: impl FnOnce() -> Errno, path: *const c_char) -> bool {
    let has_kernel_read_path = is_done
        || matches!(
            error().0,
            libc::ENOENT | libc::EACCES | libc::ENOTDIR | libc::ELOOP
        );
    // a call about a descriptor alone needs no path (statx(2), AT_EMPTY_PATH)
    if !has_kernel_read_path || path.is_null() {
        return false;
    }
    for (offset, expected) in RESOLV_CONF_PATH.iter().enumerate() {
        // SAFETY: every byte before this one was not null, so this one is part of the path
        if unsafe { *path.wrapping_add(offset) } as u8 != *expected {
            return false;
        }
    }
    true
}

/// Does this mode of fopen(3) read alone?
///
/// # Safety
///
/// `mode` has to point to a C string.
unsafe fn is_read_mode(mode: *const c_char) -> bool {
    // SAFETY: the caller vouches for it
    let mode = unsafe { core::ffi::CStr::from_ptr(mode) }.to_bytes();
    mode.starts_with(b"r") && mode.iter().all(|byte| *byte != b'+')
}

/// The pod's file, beside the relay's socket.
fn own_path(relay: sockaddr_un) -> Option<[c_char; MAX_PATH]> {
    let length = relay.sun_path.iter().take_while(|byte| **byte != 0).count();
    let path = relay.sun_path.get(..length)?;
    let folder = path.iter().rposition(|byte| *byte as u8 == b'/')?;
    let mut own = [0; MAX_PATH];
    let name = RESOLV_CONF.bytes().map(|byte| byte as c_char);
    let bytes = path.get(..=folder)?.iter().copied().chain(name);
    // the last byte stays null: the array holds the longest folder, the name and a null
    for (field, byte) in own.iter_mut().zip(bytes) {
        *field = byte;
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
        for (field, byte) in socket.sun_path.iter_mut().zip(path.bytes()) {
            *field = byte as c_char;
        }
        socket
    }

    #[test]
    fn pods_file_lies_beside_the_relays_socket() {
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

    #[test]
    fn flags_for_reading_are_redirected_and_no_others() {
        for flags in [0, libc::O_CLOEXEC, libc::O_NONBLOCK, libc::O_DIRECTORY] {
            assert!(is_for_reading(libc::O_RDONLY | flags), "{flags}");
        }
        for flags in [
            libc::O_WRONLY,
            libc::O_RDWR,
            libc::O_CREAT,
            libc::O_TRUNC,
            libc::O_PATH,
        ] {
            assert!(!is_for_reading(flags), "{flags}");
        }
    }

    #[test]
    fn mode_for_reading_is_redirected_and_no_other() {
        for (mode, expected) in [
            (c"r", true),
            (c"rb", true),
            (c"re", true),
            (c"r+", false),
            (c"rb+", false),
            (c"w", false),
            (c"a", false),
            (c"", false),
        ] {
            // SAFETY: it is a C string
            assert_eq!(unsafe { is_read_mode(mode.as_ptr()) }, expected, "{mode:?}");
        }
    }

    #[test]
    fn path_of_resolv_conf_is_redirected_and_no_other() {
        for (path, expected) in [
            (c"/etc/resolv.conf", true),
            (c"/etc/resolv.con", false),
            (c"/etc/resolv.conf.d", false),
            (c"/etc/hosts", false),
            (c"etc/resolv.conf", false),
            (c"", false),
        ] {
            let found = is_redirected(true, || panic!("errno was read"), path.as_ptr());
            assert_eq!(found, expected, "{path:?}");
        }
        assert!(!is_redirected(true, || Errno(0), core::ptr::null()));
    }

    #[test]
    fn path_of_failed_call_is_read_after_errors_of_its_files_alone() {
        let path = c"/etc/resolv.conf".as_ptr();
        for error in [libc::ENOENT, libc::EACCES, libc::ENOTDIR, libc::ELOOP] {
            assert!(is_redirected(false, || Errno(error), path), "{error}");
        }
        let invalid = core::ptr::without_provenance(8);
        for error in [libc::EFAULT, libc::EMFILE, libc::EINVAL] {
            assert!(!is_redirected(false, || Errno(error), invalid), "{error}");
        }
    }
}
