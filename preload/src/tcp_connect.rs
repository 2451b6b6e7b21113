//! connect(2) of a TCP socket to the cluster.

use crate::control::{AskError, Conversation, ReceiveError, SMALL_REPLY, Subject};
use crate::errno::{self, Errno};
use crate::failure;
use crate::remembered_failure::{reported_failure, stored_failure};
use crate::session::Session;
use crate::socket;
use core::net::SocketAddr;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use kinject_protocol::ConnectFailure;
use kinject_protocol::control::{ReplyRef, Request};
use libc::{c_int, sockaddr, socklen_t};

/// Whether this process has begun a connect that may fail while nobody waits in it. What another program began by a socket that this
/// one inherited does not count.
static HAS_BEGUN: AtomicBool = AtomicBool::new(false);

/// Is this TCP socket at rest after a connect of this process that failed while nobody waited in it? One that never began such a
/// connect is told so without a system call.
pub(crate) fn has_failed(socket: c_int) -> bool {
    HAS_BEGUN.load(Ordering::Relaxed) && socket::is_spent(socket)
}

/// libc's function.
pub(crate) type Native = unsafe extern "C" fn(c_int, *const sockaddr, socklen_t) -> c_int;

/// What becomes of one call.
pub(crate) enum Outcome {
    /// The kernel decides.
    Native,
    /// The kernel decides, about this address: it stands for the pod's own.
    Redirected(SocketAddr),
    Connected,
    Failed(Errno),
}

/// A socket that is not new is the kernel's business, which knows more of it than its state: `EISCONN` for one that was
/// ever connected, `EALREADY` or the wait for a connect that is under way, its error for one whose connect has failed. After
/// that, and for a socket that is new, it looks at the address.
pub(crate) fn connect(session: &Session, native: Native, socket: c_int, target: SocketAddr) -> Outcome {
    match resume(native, socket) {
        Ok(()) => Outcome::Connected,
        Err(Errno(libc::EINVAL)) => dial(session, native, socket, target),
        // the relay reset it: the program slept here again, after a signal
        Err(error @ Errno(libc::ECONNRESET | libc::ECONNABORTED)) => {
            Outcome::Failed(reported_failure(session, socket).unwrap_or(error))
        }
        Err(error) => Outcome::Failed(error),
    }
}

fn dial(session: &Session, native: Native, socket: c_int, target: SocketAddr) -> Outcome {
    socket::forbid_fast_open(socket);
    let mut buffer = [0; SMALL_REPLY];
    let (reply, is_interrupted) = match ask(session, socket, target, &mut buffer) {
        Ok(answer) => answer,
        Err(Stop::Interrupted) => return Outcome::Failed(Errno(libc::EINTR)),
        Err(Stop::AskError(AskError::Elsewhere)) => return Outcome::Native,
        Err(Stop::AskError(trouble)) => return Outcome::Failed(failure::connect_trouble(trouble)),
    };
    match reply {
        ReplyRef::Connected => settle(native, socket),
        ReplyRef::Local => Outcome::Native,
        ReplyRef::StandIn(address) => Outcome::Redirected(address),
        // another thread was faster
        ReplyRef::Failed(failed @ ConnectFailure::NotAtRest) => match resume(native, socket) {
            Ok(()) => Outcome::Connected,
            Err(Errno(libc::EINVAL)) => Outcome::Failed(failure::connect_errno(failed)),
            Err(error) => Outcome::Failed(error),
        },
        ReplyRef::Failed(failed) => {
            // the reset of an earlier connect, whose failure this is
            socket::forget_error(socket);
            Outcome::Failed(failure::connect_errno(failed))
        }
        ReplyRef::InProgress => {
            // a signal or SO_SNDTIMEO may end the wait for it
            HAS_BEGUN.store(true, Ordering::Relaxed);
            match socket::is_nonblocking(socket) {
                true => Outcome::Failed(Errno(libc::EINPROGRESS)),
                false if is_interrupted => Outcome::Failed(Errno(libc::EINTR)),
                false => sleep(session, native, socket),
            }
        }
        // not an answer to what was asked
        ReplyRef::Peer(_)
        | ReplyRef::Unknown
        | ReplyRef::Addresses { .. }
        | ReplyRef::NameFailed(_)
        | ReplyRef::Answer(_)
        | ReplyRef::Names(_)
        | ReplyRef::Noted
        | ReplyRef::File
        | ReplyRef::Flow(_) => Outcome::Failed(failure::connect_errno(ConnectFailure::TunnelDown)),
    }
}

/// Ends a connect that the relay began and finished: until connect(2) was called once more, the kernel takes the socket for
/// one whose program has not heard of it, and would say so to the next call that is no news to anybody.
fn settle(native: Native, socket: c_int) -> Outcome {
    match resume(native, socket) {
        Ok(()) | Err(Errno(libc::EISCONN)) => Outcome::Connected,
        // the last packet of the handshake is still on its way to a socket that does not block
        Err(Errno(libc::EALREADY)) => Outcome::Failed(Errno(libc::EINPROGRESS)),
        Err(error) => Outcome::Failed(error),
    }
}

/// Why there is no reply to a connect.
enum Stop {
    /// Signals keep coming and no answer does.
    Interrupted,
    AskError(AskError),
}

impl From<AskError> for Stop {
    fn from(trouble: AskError) -> Self {
        Self::AskError(trouble)
    }
}

/// How many signals may come while a relay that answers within milliseconds does not.
const MOST_SIGNALS: u32 = 64;

/// Asks the relay to connect the socket; gives its reply, and whether a signal came meanwhile. The relay answers so
/// soon that a signal waits for the answer, after which the socket is in the state that connect(2) promises.
fn ask<'a>(
    session: &Session,
    socket: c_int,
    target: SocketAddr,
    buffer: &'a mut [u8],
) -> Result<(ReplyRef<'a>, bool), Stop> {
    let conversation = Conversation::start(
        session,
        &Request::Connect { target },
        Subject::PassedSocket(socket),
    )?;
    let mut signals = 0;
    let length = loop {
        match conversation.receive(buffer) {
            Ok(length) => break length,
            Err(ReceiveError::Interrupted) if signals == MOST_SIGNALS => return Err(Stop::Interrupted),
            Err(ReceiveError::Interrupted) => signals += 1,
            Err(ReceiveError::NoRelay) => return Err(AskError::NoRelay.into()),
        }
    };
    let message = buffer.get(..length).ok_or(AskError::NoRelay)?;
    let reply = ReplyRef::decode(message).map_err(|_| AskError::NoRelay)?;
    Ok((reply, signals > 0))
}

/// Waits in the kernel for a connect that is under way.
fn sleep(session: &Session, native: Native, socket: c_int) -> Outcome {
    let Err(error) = resume(native, socket) else {
        return Outcome::Connected;
    };
    let failure = match error.0 {
        // the relay reset it while it slept, or before it began to
        libc::ECONNRESET | libc::ECONNABORTED | libc::EINVAL => {
            socket::forget_error(socket);
            stored_failure(session, socket).unwrap_or(Errno(libc::ECONNABORTED))
        }
        // SO_SNDTIMEO ran out: for the kernel this was the second call, for the program it is the first
        libc::EALREADY => Errno(libc::EINPROGRESS),
        _ => error,
    };
    Outcome::Failed(failure)
}

/// connect(2) on a socket that may not be new.
///
/// The kernel looks at the address of a new socket only, so this passes one that it refuses there: a new socket gives `EINVAL`,
/// and never dials over the local network. libc's own function makes the call, so that a thread can be cancelled while it sleeps here.
fn resume(native: Native, socket: c_int) -> Result<(), Errno> {
    // whole, for memory checkers that look at all of it
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: 0 },
        sin_zero: [0; 8],
    };
    let length = size_of_val(&address.sin_family) as socklen_t;
    errno::kept(|| {
        // SAFETY: the address is readable for its length, which is that of the family alone
        match unsafe { native(socket, ptr::from_ref(&address).cast(), length) } {
            0 => Ok(()),
            _ => Err(Errno::current()),
        }
    })
}
