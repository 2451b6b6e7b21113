//! res_send(3): a query message of the program's own.

use super::answer::{self, AnswerBuffer};
use super::query::session_and_state;
use super::state::{self, State, missing};
use crate::errno::{self, Errno};
use crate::real;
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
    let native = || match real::res_send.get() {
        // SAFETY: these are the program's own arguments
        Some(native) => unsafe { native(message, length, answer, size) },
        None => missing(),
    };
    // SAFETY: the state is libc's; message and answer's buffer are null or as large as they say, as libc trusts
    unsafe {
        send(
            message,
            length,
            AnswerBuffer::new(answer, size),
            state::of_this_thread,
            native,
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
    let native = || match real::res_nsend.get() {
        // SAFETY: these are the program's own arguments
        Some(native) => unsafe { native(state, message, length, answer, size) },
        None => missing(),
    };
    // SAFETY: as above, and the state is the program's
    unsafe { send(message, length, AnswerBuffer::new(answer, size), || state, native) }
}

/// Does the call in the session's network namespace, otherwise by `native`, as
/// [`Query::or_native`](super::query::Query).
///
/// # Safety
///
/// `message` has to be null or readable for `length` bytes, `state` to give null or a resolver's state.
unsafe fn send(
    message: *const u8,
    length: c_int,
    destination: AnswerBuffer,
    state: impl FnOnce() -> *mut State,
    native: impl FnOnce() -> c_int,
) -> c_int {
    let in_session = errno::preserve(|| {
        let length = usize::try_from(length).ok()?;
        if message.is_null() || destination.is_null() || !(1..=MAX_MESSAGE).contains(&length) {
            return None;
        }
        Some((session_and_state(state)?, length))
    });
    let Some(((session, state), length)) = in_session else {
        return native();
    };
    // SAFETY: the caller vouches for the message
    let message = unsafe { core::slice::from_raw_parts(message, length) };
    // SAFETY: the caller vouches for the state
    let options = unsafe { state::options(state) };
    if !options.has_servers {
        return Errno(libc::ESRCH).fail();
    }
    match errno::preserve(|| answer::ask(&session, message, None, options, destination)) {
        Ok(delivered) => delivered.length,
        // libc returns this after the last server has not answered
        Err(refusal) => refusal.errno().unwrap_or(Errno(libc::ETIMEDOUT)).fail(),
    }
}
