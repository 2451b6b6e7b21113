//! Programs into which the library will not be loaded (`kinject_protocol::executable`): the user is warned before one
//! of them starts, or it is not started, depending on `KINJECT_ON_STATIC`.
//!
//! Among them are the children of a program that has changed its root directory or its mounts (chroot(8), bwrap(1)) so
//! that the library's file is not visible: the dynamic linker would print an error and go on without it.
//!
//! The relay prints the warning, and once for each program: this process's standard error may be a pipe that another
//! program reads, or a file of the same number. There is no warning of a program that leaves the session on purpose.

use super::file::{Name, Path, ProgramFile};
use super::plan;
use crate::control::{self, AskError, SMALL_REPLY};
use crate::errno::Errno;
use crate::session::{self, Session};
use crate::sys;
use core::ffi::CStr;
use kinject_protocol::control::Request;
use kinject_protocol::environment::{FAIL, IGNORE, LIBRARY, ON_STATIC};
use kinject_protocol::executable::{self, File, HEAD, InjectionBlocker, MAX_INTERPRETERS, Runtime};
use libc::c_char;

/// The error of a program that is not started. It names the cause, and neither a shell nor execvp(3) tries another file
/// after it.
const REFUSED: Errno = Errno(libc::ELIBACC);

/// Inspects a program that is about to start, and reports it if the library will not be loaded into it. Returns the
/// error with which the program is not started, or the sanitizer's runtime that has to be loaded first.
#[inline]
pub(super) fn inspect(name: Name, environment: *const *const c_char) -> Result<Option<Runtime>, Errno> {
    let Some(session) = Session::current() else {
        return Ok(None);
    };
    match classify(name) {
        None => Ok(None),
        Some(Finding::Runtime(runtime)) => Ok(Some(runtime)),
        Some(Finding::InjectionBlocker(blocker, path)) => {
            match report_blocker(&session, blocker, path.bytes(), environment) {
                Some(error) => Err(error),
                None => Ok(None),
            }
        }
    }
}

/// What has to be done about a program.
#[allow(
    clippy::large_enum_variant,
    reason = "nothing is allocated in a child of vfork(2)"
)]
enum Finding {
    InjectionBlocker(InjectionBlocker, Path),
    Runtime(Runtime),
}

fn classify(name: Name) -> Option<Finding> {
    let mut head = [0; HEAD];
    let (mut file, mut path) = ProgramFile::open(name)?;
    for _ in 0..=MAX_INTERPRETERS {
        let blocker = match file.read_at(0, &mut head) {
            Some(length) => {
                let head = head.get(..length)?;
                if let Some(interpreter) = executable::interpreter(head) {
                    (file, path) = ProgramFile::open_interpreter(interpreter)?;
                    continue;
                }
                let has_mdwe = || sys::mdwe().holds_for_children();
                let blocker =
                    executable::injection_blocker(&file, head, file.elevation(), has_mdwe, is_library_hidden);
                if blocker.is_none() {
                    return executable::runtime(&file, head).map(Finding::Runtime);
                }
                blocker
            }
            // the file is executable and not readable
            None => file.elevation(),
        };
        return blocker.map(|blocker| Finding::InjectionBlocker(blocker, path));
    }
    None
}

/// Reports this process's own program, whose file did not show that its system calls cannot be hooked.
#[cfg(all(target_arch = "x86_64", not(test)))]
#[cold]
pub(crate) fn report_this_program(session: &Session, blocker: InjectionBlocker) {
    let mut path = [0; HEAD];
    let length = sys::read_link(c"/proc/self/exe".as_ptr(), &mut path);
    let program = length.ok().and_then(|length| path.get(..length));
    if let Some(program) = program.filter(|_| Policy::current() != Policy::Ignore) {
        // without a relay there is no user to warn
        let _reported = report(session, blocker, program, false).is_ok();
    }
}

/// Reports a library that is about to be opened in a namespace of its own, unless its file imports no function of the
/// network. One that the dynamic linker searches for is reported in any case.
#[cfg(not(test))]
#[cold]
pub(crate) fn report_library(path: *const c_char) {
    let Some(session) = Session::current() else {
        return;
    };
    // SAFETY: the path is a C string, as the dynamic linker expects it too
    let text = unsafe { CStr::from_ptr(path) }.to_bytes();
    // SAFETY: as above
    let is_path = !unsafe { libc::strchr(path, libc::c_int::from(b'/')) }.is_null();
    let has_no_network = is_path && !ProgramFile::is_library_with_network(path);
    if has_no_network || Policy::current() == Policy::Ignore {
        return;
    }
    // without a relay there is no user to warn
    let _reported = report(&session, InjectionBlocker::Namespace, text, false).is_ok();
}

/// Reports a program or a library that is not run, since it comes from the cluster.
#[cold]
pub(crate) fn report_remote(path: &[u8]) {
    if let Some(session) = Session::current() {
        // without a relay there is no user to tell
        let _reported = report(&session, InjectionBlocker::Remote, path, true).is_ok();
    }
}

/// Reports a program that cannot be injected; returns the error with which it is not started.
#[cold]
fn report_blocker(
    session: &Session,
    blocker: InjectionBlocker,
    program: &[u8],
    environment: *const *const c_char,
) -> Option<Errno> {
    let policy = Policy::current();
    if policy == Policy::Ignore || plan::leaves(environment) {
        return None;
    }
    let reported = report(session, blocker, program, policy == Policy::Refuse);
    after_report(policy, reported)
}

/// What happens to a program that cannot be injected: the value of [`ON_STATIC`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    /// It starts, and the user is warned.
    Warn,
    /// It does not start.
    Refuse,
    /// It starts.
    Ignore,
}

impl Policy {
    fn current() -> Self {
        // SAFETY: entries point to C strings
        let value = session::variable(ON_STATIC).map(|entry| unsafe { CStr::from_ptr(entry.value()) });
        Self::of(value.map(CStr::to_bytes))
    }

    fn of(value: Option<&[u8]>) -> Self {
        match value {
            Some(value) if value == IGNORE.as_bytes() => Self::Ignore,
            Some(value) if value == FAIL.as_bytes() => Self::Refuse,
            Some(_) | None => Self::Warn,
        }
    }
}

/// Decides whether a program starts after it was reported; the error if it does not.
fn after_report(policy: Policy, reported: Result<(), AskError>) -> Option<Errno> {
    match (policy, reported) {
        // no program in another network namespace is in the session
        (_, Err(AskError::OtherNetwork)) => None,
        // without a relay there is no user to warn
        (Policy::Refuse, Ok(()) | Err(AskError::NoSocket(_) | AskError::NoRelay)) => Some(REFUSED),
        (Policy::Warn | Policy::Ignore, Ok(()) | Err(AskError::NoSocket(_) | AskError::NoRelay)) => None,
    }
}

fn report(
    session: &Session,
    blocker: InjectionBlocker,
    program: &[u8],
    is_refused: bool,
) -> Result<(), AskError> {
    let request = Request::Uninjectable {
        blocker,
        is_refused,
        program,
    };
    control::ask(session, &request, &mut [0; SMALL_REPLY]).map(drop)
}

/// Whether the dynamic linker will not find the library in this process's view of the file system.
fn is_library_hidden() -> bool {
    session::variable(LIBRARY).is_some_and(|library| !sys::exists(library.value()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_is_fail_ignore_or_a_warning() {
        for (value, expected) in [
            (None, Policy::Warn),
            (Some(&b"warn"[..]), Policy::Warn),
            (Some(b""), Policy::Warn),
            (Some(b"fail"), Policy::Refuse),
            (Some(b"ignore"), Policy::Ignore),
        ] {
            assert_eq!(Policy::of(value), expected, "{value:?}");
        }
    }

    #[test]
    fn refused_program_does_not_start_unless_it_is_in_another_network() {
        let no_socket = AskError::NoSocket(Errno(libc::EMFILE));
        for reported in [Ok(()), Err(AskError::NoRelay), Err(no_socket)] {
            assert_eq!(after_report(Policy::Refuse, reported), Some(REFUSED));
            assert_eq!(after_report(Policy::Warn, reported), None);
        }
        let reported = Err(AskError::OtherNetwork);
        assert_eq!(after_report(Policy::Refuse, reported), None);
    }
}
