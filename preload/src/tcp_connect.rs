//! connect(2) of a TCP socket to the cluster.

mod decision;

use crate::control::{AskError, Conversation, ReceiveError, SMALL_REPLY, Subject};
use crate::errno::{self, Errno};
use crate::failure;
use crate::remembered_failure::{reported_failure, stored_failure};
use crate::session::Session;
use crate::socket;
use core::net::SocketAddr;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use decision::{Attempt, Progress, Reaction, Waited};
use kinject_protocol::control::{ReplyRef, Request};
use libc::{c_int, sockaddr, socklen_t};

/// Whether this process has started a connect that may fail asynchronously. A connect that another process started on
/// an inherited socket does not count.
static HAS_STARTED_CONNECT: AtomicBool = AtomicBool::new(false);

/// Is this a TCP socket whose asynchronous connect failed? A process that never started such a connect gets the answer
/// without a system call.
pub(crate) fn has_failed(socket: c_int) -> bool {
    HAS_STARTED_CONNECT.load(Ordering::Relaxed) && socket::is_closed_by_failure(socket)
}

/// libc's function.
pub(crate) type Native = unsafe extern "C" fn(c_int, *const sockaddr, socklen_t) -> c_int;

/// The result of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The kernel connects the socket, without us.
    Native,
    /// The kernel connects the socket to this address, which stands for the pod's own.
    Redirected(SocketAddr),
    Connected,
    Failed(Errno),
}

/// Connects a socket that may not be new.
///
/// The kernel knows more of such a socket than its state: `EISCONN` if it was ever connected, `EALREADY` or a wait
/// while a connect is in progress, the pending error after a connect that failed. So the kernel is asked first; a
/// socket for which it has no such answer is new.
pub(crate) fn connect(session: &Session, native: Native, socket: c_int, target: SocketAddr) -> Outcome {
    match decision::after_resume(resume(native, socket)) {
        Attempt::Done(outcome) => outcome,
        Attempt::IsNew => dial(session, native, socket, target),
        Attempt::WasReset(error) => Outcome::Failed(reported_failure(session, socket).unwrap_or(error)),
    }
}

fn dial(session: &Session, native: Native, socket: c_int, target: SocketAddr) -> Outcome {
    socket::forbid_fast_open(socket);
    let mut buffer = [0; SMALL_REPLY];
    let (reply, is_interrupted) = match ask(session, socket, target, &mut buffer) {
        Ok(answer) => answer,
        Err(NoReply::Interrupted) => return Outcome::Failed(Errno(libc::EINTR)),
        Err(NoReply::AskError(AskError::OtherNetwork)) => return Outcome::Native,
        Err(NoReply::AskError(error)) => return Outcome::Failed(failure::ask_errno(error)),
    };
    match decision::after_reply(reply) {
        Reaction::Finish(outcome) => outcome,
        Reaction::Settle => decision::after_settling(resume(native, socket)),
        Reaction::Resume(failed) => decision::after_race(resume(native, socket), failed),
        Reaction::Fail(error) => {
            // the socket's pending error is the reset of an earlier connect, whose failure this is
            socket::clear_error(socket);
            Outcome::Failed(error)
        }
        Reaction::Wait => {
            // a signal or SO_SNDTIMEO may end the wait for it
            HAS_STARTED_CONNECT.store(true, Ordering::Relaxed);
            match decision::in_progress(socket::is_nonblocking(socket), is_interrupted) {
                Progress::Return(error) => Outcome::Failed(error),
                Progress::Wait => wait(session, native, socket),
            }
        }
    }
}

/// Why there is no reply to a connect.
enum NoReply {
    /// The program got more than [`MAX_SIGNALS`] signals and the relay did not answer.
    Interrupted,
    AskError(AskError),
}

impl From<AskError> for NoReply {
    fn from(error: AskError) -> Self {
        Self::AskError(error)
    }
}

/// How many signals the wait for the relay, which answers within milliseconds, goes on through.
const MAX_SIGNALS: u32 = 64;

/// Asks the relay to connect the socket; gives its reply, and whether a signal came meanwhile. The relay answers so
/// soon that a signal waits for the answer, after which the socket is in the state that connect(2) promises.
fn ask<'a>(
    session: &Session,
    socket: c_int,
    target: SocketAddr,
    buffer: &'a mut [u8],
) -> Result<(ReplyRef<'a>, bool), NoReply> {
    let conversation = Conversation::start(
        session,
        &Request::Connect { target },
        Subject::PassedSocket(socket),
    )?;
    let mut signals = 0;
    let length = loop {
        match conversation.receive(buffer) {
            Ok(length) => break length,
            Err(ReceiveError::Interrupted) if signals == MAX_SIGNALS => return Err(NoReply::Interrupted),
            Err(ReceiveError::Interrupted) => signals += 1,
            Err(ReceiveError::NoRelay) => return Err(AskError::NoRelay.into()),
        }
    };
    let message = buffer.get(..length).ok_or(AskError::NoRelay)?;
    let reply = ReplyRef::decode(message).map_err(|_| AskError::NoRelay)?;
    Ok((reply, signals > 0))
}

/// Waits in the kernel for a connect that is in progress.
fn wait(session: &Session, native: Native, socket: c_int) -> Outcome {
    match decision::after_wait(resume(native, socket)) {
        Waited::Done(outcome) => outcome,
        Waited::WasReset => {
            socket::clear_error(socket);
            Outcome::Failed(stored_failure(session, socket).unwrap_or(Errno(libc::ECONNABORTED)))
        }
    }
}

/// connect(2) on a socket that may not be new.
///
/// The kernel looks at the address only if the socket is new, so this passes one that it refuses there: a new socket
/// gives `EINVAL`, and never connects over the local network. libc's own function makes the call, so that a thread
/// can be cancelled while it sleeps here.
fn resume(native: Native, socket: c_int) -> Result<(), Errno> {
    // a whole address, for memory checkers that look at all of it
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: 0 },
        sin_zero: [0; 8],
    };
    let length = size_of_val(&address.sin_family) as socklen_t;
    errno::preserve(|| {
        // SAFETY: the address is readable for its length, which is that of the family alone
        match unsafe { native(socket, ptr::from_ref(&address).cast(), length) } {
            0 => Ok(()),
            _ => Err(Errno::current()),
        }
    })
}
