//! res_send(3): a message that the program wrote itself.

use super::answer::{self, AnswerBuffer};
use super::state::{self, State, missing};
use crate::control;
use crate::errno::{self, Errno};
use crate::real;
use crate::session::Session;
use kinject_protocol::control::MAX_MESSAGE;
use libc::c_int;

macro_rules! hooks {
    ($($send:ident, $nsend:ident => $a:ident, $b:ident;)*) => {$(
        hook! {
            unsafe fn $send(message: *const u8, length: c_int, answer: *mut u8, size: c_int) -> c_int => $a {
                res_send_in_session(message, length, answer, size)
            }
        }

        hook! {
            unsafe fn $nsend(
                state: *mut crate::resolver::State,
                message: *const u8,
                length: c_int,
                answer: *mut u8,
                size: c_int
            ) -> c_int => $b {
                res_nsend_in_session(state, message, length, answer, size)
            }
        }
    )*};
}

hooks! {
    res_send, res_nsend => hooked_a, hooked_b;
    __res_send, __res_nsend => hooked_c, hooked_d;
}

extern "C" fn res_send_in_session(message: *const u8, length: c_int, answer: *mut u8, size: c_int) -> c_int {
    let Some((session, bytes)) = errno::kept(|| for_session(message, length, answer)) else {
        return match real::res_send.get() {
            // SAFETY: these are the program's own arguments
            Some(native) => unsafe { native(message, length, answer, size) },
            None => missing(),
        };
    };
    // SAFETY: the state is libc's, and the answer's buffer as large as it says, as libc trusts
    unsafe {
        send(
            &session,
            state::of_this_thread(),
            bytes,
            AnswerBuffer::new(answer, size),
        )
    }
}

extern "C" fn res_nsend_in_session(
    state: *mut State,
    message: *const u8,
    length: c_int,
    answer: *mut u8,
    size: c_int,
) -> c_int {
    let call = errno::kept(|| for_session(message, length, answer));
    let (Some((session, bytes)), false) = (call, state.is_null()) else {
        return match real::res_nsend.get() {
            // SAFETY: these are the program's own arguments
            Some(native) => unsafe { native(state, message, length, answer, size) },
            None => missing(),
        };
    };
    // SAFETY: as above, and the state is the program's
    unsafe { send(&session, state, bytes, AnswerBuffer::new(answer, size)) }
}

/// The message and the session that carries it, unless the call is libc's business, as for res_query.
fn for_session<'a>(message: *const u8, length: c_int, answer: *mut u8) -> Option<(Session, &'a [u8])> {
    if message.is_null() || answer.is_null() {
        return None;
    }
    let length = usize::try_from(length)
        .ok()
        .filter(|length| (1..=MAX_MESSAGE).contains(length))?;
    // SAFETY: the program says that the message is that long, as it says to libc
    let bytes = unsafe { core::slice::from_raw_parts(message, length) };
    Some((control::session_of_this_network()?, bytes))
}

/// # Safety
///
/// `state` has to point to a resolver's state.
unsafe fn send(session: &Session, state: *mut State, message: &[u8], place: AnswerBuffer) -> c_int {
    // SAFETY: the caller vouches for it
    let wanted = unsafe { state::options(state) };
    if !wanted.has_servers {
        return Errno(libc::ESRCH).fail();
    }
    match errno::kept(|| answer::ask(session, message, None, wanted, place)) {
        Ok(delivered) => delivered.length,
        // what no server answers is waited for, until libc gives up
        Err(refusal) => refusal.errno().unwrap_or(Errno(libc::ETIMEDOUT)).fail(),
    }
}
