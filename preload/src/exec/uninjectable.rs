//! Programs into which the library will not be loaded (`kinject_protocol::executable`): the user is told before one of
//! them starts, or it is not started, as `KINJECT_ON_STATIC` says.
//!
//! Among them are those that a program starts once it has changed its root directory or its mounts (chroot(8), bwrap(1)) so
//! that the library's file is not to be seen: the dynamic linker would say so, and go on without it.
//!
//! The user is told by the relay, which knows who has heard it: this process's standard error may be a pipe that
//! somebody reads, or a file that took its number. A program that leaves the session on purpose is nobody's business.

use super::file::{Name, Path, ProgramFile};
use super::plan;
use crate::control::{self, AskError, SMALL_REPLY};
use crate::environment::Entry;
use crate::errno::Errno;
use crate::session::{self, Session};
use crate::sys;
use core::ffi::CStr;
use kinject_protocol::control::Request;
use kinject_protocol::environment::{FAIL, IGNORE, LIBRARY, ON_STATIC};
use kinject_protocol::executable::{self, File, HEAD, InjectionBlocker, MAX_INTERPRETERS, Runtime};
use libc::c_char;

/// What a program that is not started fails with: it says what is wrong, and neither a shell nor execvp(3) goes on
/// looking for another way to start it.
const REFUSED: Errno = Errno(libc::ELIBACC);

/// Looks at a program that is about to start, and tells of it if the library will not be loaded into it: the error with
/// which it is not to be started, or the sanitizer's runtime that it wants to be loaded first.
#[inline]
pub(super) fn judge(name: Name, environment: *const *const c_char) -> Result<Option<Runtime>, Errno> {
    let Some(session) = Session::current() else {
        return Ok(None);
    };
    match look(name) {
        None => Ok(None),
        Some(Look::Runtime(runtime)) => Ok(Some(runtime)),
        Some(Look::InjectionBlocker(blocker, path)) => {
            match decide(&session, blocker, path.bytes(), environment) {
                Some(error) => Err(error),
                None => Ok(None),
            }
        }
    }
}

/// What is remarkable about a program.
#[allow(
    clippy::large_enum_variant,
    reason = "nothing is allocated in a child of vfork(2)"
)]
enum Look {
    InjectionBlocker(InjectionBlocker, Path),
    Runtime(Runtime),
}

fn look(name: Name) -> Option<Look> {
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
                    return executable::runtime(&file, head).map(Look::Runtime);
                }
                blocker
            }
            // it may be run and not read
            None => file.elevation(),
        };
        return blocker.map(|blocker| Look::InjectionBlocker(blocker, path));
    }
    None
}

/// Tells of the program that this process is, whose file did not show what is in the way.
#[cfg(all(target_arch = "x86_64", not(test)))]
#[cold]
pub(crate) fn tell_of_this_program(session: &Session, blocker: InjectionBlocker) {
    let mut path = [0; HEAD];
    let length = sys::read_link(c"/proc/self/exe".as_ptr(), &mut path);
    let program = length.ok().and_then(|length| path.get(..length));
    if let Some(program) = program.filter(|_| !says(session::variable(ON_STATIC), IGNORE)) {
        // without a relay there is nobody to tell
        let _told = tell(session, blocker, program, false).is_ok();
    }
}

/// Tells of a library that is about to be opened in a namespace of its own, unless it has no use for the network. One whose
/// file the dynamic linker has to look for may have.
#[cfg(not(test))]
#[cold]
pub(crate) fn tell_of_library(path: *const c_char) {
    let Some(session) = Session::current() else {
        return;
    };
    // SAFETY: the path is a C string, as the dynamic linker expects it too
    let text = unsafe { CStr::from_ptr(path) }.to_bytes();
    // SAFETY: as above
    let is_path = !unsafe { libc::strchr(path, libc::c_int::from(b'/')) }.is_null();
    if (is_path && !ProgramFile::is_library_with_network(path)) || says(session::variable(ON_STATIC), IGNORE)
    {
        return;
    }
    // without a relay there is nobody to tell
    let _told = tell(&session, InjectionBlocker::Namespace, text, false).is_ok();
}

#[cold]
fn decide(
    session: &Session,
    blocker: InjectionBlocker,
    program: &[u8],
    environment: *const *const c_char,
) -> Option<Errno> {
    let policy = session::variable(ON_STATIC);
    if says(policy, IGNORE) || plan::leaves(environment) {
        return None;
    }
    let is_refused = says(policy, FAIL);
    match tell(session, blocker, program, is_refused) {
        // in another network namespace no program is in the session
        Err(AskError::Elsewhere) => None,
        // a relay that cannot be asked has nobody to tell
        Ok(()) | Err(AskError::NoSocket(_) | AskError::NoRelay) => is_refused.then_some(REFUSED),
    }
}

fn tell(
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

/// Whether the dynamic linker will not find the library from here.
fn is_library_hidden() -> bool {
    session::variable(LIBRARY).is_some_and(|library| !sys::exists(library.value()))
}

fn says(policy: Option<Entry>, word: &str) -> bool {
    // SAFETY: entries point to C strings
    policy.is_some_and(|policy| unsafe { CStr::from_ptr(policy.value()) }.to_bytes() == word.as_bytes())
}
