//! stat(2), access(2) and similar calls, for the path that [`super`] redirects.
//!
//! A program may check whether `/etc/resolv.conf` exists, how large it is, or whether it has changed. The hooks
//! answer for the file that the program would read: the pod's. As there, the kernel first gets the program's own
//! call, so that it checks the path's pointer. The pod's file is shown as not writable, as it is in most pods.
//!
//! Programs that were linked before glibc 2.33 call the stat family by the names with an `x`.

use super::redirection::{is_hidden, is_redirected, own_path};
use super::{RelayFile, file_from_relay};
use crate::errno::{self, Errno};
use crate::paths::{self, Action, Native, Spec};
use crate::real;
use crate::session::Session;
use crate::sys::{self, Descriptor};
use libc::{c_char, c_int, c_uint, c_void};

/// Declares hooks of functions that ask about a path, and ask about another one if it is redirected.
macro_rules! asking {
    ($($name:ident = $hooked:ident, $in_session:ident(
        $($before:ident: $before_type:ty,)* [path] $(, $after:ident: $after_type:ty)*
    ) by $spec:expr, asks $question:expr;)*) => {$(
        hook! {
            unsafe fn $name(
                $($before: $before_type,)* path: *const c_char $(, $after: $after_type)*
            ) -> c_int => $hooked {
                $in_session($($before,)* path $(, $after)*)
            }
        }

        pub(crate) extern "C" fn $in_session(
            $($before: $before_type,)* path: *const c_char $(, $after: $after_type)*
        ) -> c_int {
            let Some(native) = real::$name.get() else {
                return Errno(libc::ENOSYS).fail();
            };
            asked_in_session(path, $question, |path| {
                let arguments = paths::arguments![$($before,)* path $(, $after)*];
                paths::run(Native::Function(native as usize), arguments, $spec) as c_int
            })
        }
    )*};
}

const ASK: Spec = Spec::path(Action::Ask);
const ASK_AT: Spec = Spec::at(Action::Ask);
/// With the version of the structure as the first argument.
const VERSIONED: Spec = ASK.after(1);
const VERSIONED_AT: Spec = ASK_AT.after(1);

asking! {
    stat = hooked_stat, stat_in_session([path], status: *mut c_void) by ASK, asks Question::Status(status);
    stat64 = hooked_stat64, stat64_in_session([path], status: *mut c_void) by ASK, asks Question::Status(status);
    lstat = hooked_lstat, lstat_in_session([path], status: *mut c_void) by ASK, asks Question::Status(status);
    lstat64 = hooked_lstat64, lstat64_in_session([path], status: *mut c_void) by ASK, asks Question::Status(status);
    fstatat = hooked_fstatat, fstatat_in_session(folder: c_int, [path], status: *mut c_void, flags: c_int)
        by ASK_AT, asks Question::Status(status);
    fstatat64 = hooked_fstatat64, fstatat64_in_session(folder: c_int, [path], status: *mut c_void, flags: c_int)
        by ASK_AT, asks Question::Status(status);
    statx = hooked_statx,
        statx_in_session(folder: c_int, [path], flags: c_int, mask: c_uint, status: *mut c_void)
        by ASK_AT, asks Question::Extended { flags, mask, status };
    __xstat = hooked_xstat, xstat_in_session(version: c_int, [path], status: *mut c_void)
        by VERSIONED, asks Question::Status(status);
    __xstat64 = hooked_xstat64, xstat64_in_session(version: c_int, [path], status: *mut c_void)
        by VERSIONED, asks Question::Status(status);
    __lxstat = hooked_lxstat, lxstat_in_session(version: c_int, [path], status: *mut c_void)
        by VERSIONED, asks Question::Status(status);
    __lxstat64 = hooked_lxstat64, lxstat64_in_session(version: c_int, [path], status: *mut c_void)
        by VERSIONED, asks Question::Status(status);
    __fxstatat = hooked_fxstatat,
        fxstatat_in_session(version: c_int, folder: c_int, [path], status: *mut c_void, flags: c_int)
        by VERSIONED_AT, asks Question::Status(status);
    __fxstatat64 = hooked_fxstatat64,
        fxstatat64_in_session(version: c_int, folder: c_int, [path], status: *mut c_void, flags: c_int)
        by VERSIONED_AT, asks Question::Status(status);
    access = hooked_access, access_in_session([path], mode: c_int)
        by Spec::path(Action::Access(1)), asks Question::Access(mode);
    faccessat = hooked_faccessat, faccessat_in_session(folder: c_int, [path], mode: c_int, flags: c_int)
        by Spec::at(Action::Access(2)), asks Question::Access(mode);
}

/// What a call asks, so that it can be asked about a descriptor, in programs that do not see the session's folder.
#[derive(Clone, Copy)]
pub(crate) enum Question {
    /// The status, which is written there.
    Status(*mut c_void),
    /// The extended status of statx(2).
    Extended {
        flags: c_int,
        mask: c_uint,
        status: *mut c_void,
    },
    /// Whether this access is permitted (access(2)).
    Access(c_int),
}

impl Question {
    fn of(self, file: &Descriptor) -> Result<(), Errno> {
        match self {
            Self::Status(status) => sys::status_to(file, status),
            Self::Extended { flags, mask, status } => sys::extended_status_to(file, flags, mask, status),
            // the file belongs to the user, who may read and write it
            Self::Access(mode) if mode & libc::X_OK != 0 => Err(Errno(libc::EACCES)),
            Self::Access(_) => Ok(()),
        }
    }
}

/// The kernel's answer for the path, or for the pod's file if the path is redirected.
#[inline]
pub(crate) fn asked_in_session(
    path: *const c_char,
    question: Question,
    ask: impl Fn(*const c_char) -> c_int,
) -> c_int {
    let answer = ask(path);
    if !is_redirected(answer == 0, Errno::current, path) {
        return answer;
    }
    match errno::preserve(Session::current) {
        Some(session) => asked_of_own(&session, question, answer, ask),
        None => answer,
    }
}

/// With the ABI of C, whose functions the compiler takes not to unwind.
#[allow(improper_ctypes_definitions, reason = "no other language calls it")]
extern "C" fn asked_of_own<F: Fn(*const c_char) -> c_int>(
    session: &Session,
    question: Question,
    native: c_int,
    ask: F,
) -> c_int {
    let Some(own) = session.path().and_then(own_path) else {
        return native;
    };
    let native_error = Errno::current();
    let answer = ask(own.as_ptr());
    let error = Errno::current();
    if answer == 0 || !is_hidden(error) {
        return answer;
    }
    let answer = match file_from_relay(session, error) {
        RelayFile::File(file) => question.of(&file),
        RelayFile::Native => match native {
            0 => Ok(()),
            _ => Err(native_error),
        },
        RelayFile::Failed(error) => Err(error),
    };
    match answer {
        // errno changes only where a function fails
        Ok(()) => {
            native_error.set();
            0
        }
        Err(error) => error.fail(),
    }
}
