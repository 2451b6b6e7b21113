//! Programs into which the library will not be loaded (`kinject_protocol::executable`): the user is told before one of
//! them starts, or it is not started, as `KINJECT_ON_STATIC` says.
//!
//! The user is told by the relay, which knows who has heard it: this process's standard error may be a pipe that
//! somebody reads, or a file that took its number. A program that leaves the session on purpose is nobody's business.

use super::file::{Name, ProgramFile};
use super::plan;
use crate::control::{self, SMALL_REPLY};
use crate::environment::Entry;
use crate::errno::Errno;
use crate::session::{self, Session};
use crate::sys;
use core::ffi::CStr;
use kinject_protocol::control::Request;
use kinject_protocol::environment::{FAIL, IGNORE, ON_STATIC};
use kinject_protocol::executable::{self, File, HEAD, MOST_INTERPRETERS, Obstacle};
use libc::c_char;

/// What a program that is not started fails with: it says what is wrong, and neither a shell nor execvp(3) goes on
/// looking for another way to start it.
const REFUSED: Errno = Errno(libc::ELIBACC);

/// The error with which the program is not to be started, if it is not.
#[inline]
pub(super) fn refusal(name: Name, environment: *const *const c_char) -> Option<Errno> {
    let session = Session::current()?;
    let mut head = [0; HEAD];
    let (mut file, mut path) = ProgramFile::open(name)?;
    for _ in 0..=MOST_INTERPRETERS {
        let obstacle = match file.read_at(0, &mut head) {
            Some(length) => {
                let head = head.get(..length)?;
                if let Some(interpreter) = executable::interpreter(head) {
                    (file, path) = ProgramFile::open_interpreter(interpreter)?;
                    continue;
                }
                executable::obstacle(&file, head, file.elevation(), || {
                    sys::sealing().holds_for_children()
                })
            }
            // it may be run and not read
            None => file.elevation(),
        };
        return decide(&session, obstacle?, path.bytes(), environment);
    }
    None
}

/// Tells of the program that this process is, whose file did not show what is in the way.
#[cfg(all(target_arch = "x86_64", not(test)))]
#[cold]
pub(crate) fn tell_of_this_program(session: &Session, obstacle: Obstacle) {
    let mut path = [0; HEAD];
    let length = sys::read_link(c"/proc/self/exe".as_ptr(), &mut path);
    let program = length.ok().and_then(|length| path.get(..length));
    if let Some(program) = program.filter(|_| !says(session::variable(ON_STATIC), IGNORE)) {
        tell(session, obstacle, program, false);
    }
}

#[cold]
fn decide(
    session: &Session,
    obstacle: Obstacle,
    program: &[u8],
    environment: *const *const c_char,
) -> Option<Errno> {
    let policy = session::variable(ON_STATIC);
    if says(policy, IGNORE) || plan::leaves(environment) {
        return None;
    }
    let is_refused = says(policy, FAIL);
    tell(session, obstacle, program, is_refused);
    is_refused.then_some(REFUSED)
}

fn tell(session: &Session, obstacle: Obstacle, program: &[u8], is_refused: bool) {
    let request = Request::Outsider {
        obstacle,
        is_refused,
        program,
    };
    // a relay that cannot be asked has nobody to tell
    let _told = control::ask(session, &request, &mut [0; SMALL_REPLY]).is_ok();
}

fn says(policy: Option<Entry>, word: &str) -> bool {
    // SAFETY: entries point to C strings
    policy.is_some_and(|policy| unsafe { CStr::from_ptr(policy.value()) }.to_bytes() == word.as_bytes())
}
