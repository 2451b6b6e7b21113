//! connect(2).
//!
//! The program's own socket stays the program's: the relay gets a duplicate for the length of the connect, and the
//! kernel's state of the socket is at every moment what it would be on the way to a real peer. So poll(2), a second
//! connect, signals and timeouts are answered by the kernel, without us.
//!
//! The relay answers within some milliseconds: with the result if the far end was quick, otherwise by leaving the
//! socket in `SYN_SENT`. Then a blocking program sleeps in the kernel's connect(2), and a non-blocking one gets its
//! `EINPROGRESS`. A refusal wakes both by a reset; what it really was is asked for afterwards.
//!
//! We deviate from the man page where the session cannot carry what the program asks for: `ENETUNREACH`, never a
//! connection to the local network.

use crate::address::Destination;
use crate::control::{self, Conversation, SMALL_REPLY, Silence, Trouble};
use crate::errno::Errno;
use crate::session::Session;
use crate::socket::{self, Kind};
use crate::{datagram, failure, real};
use core::net::SocketAddr;
use kinject_protocol::ConnectFailure;
use kinject_protocol::control::{ReplyRef, Request};
use libc::{c_int, sockaddr, socklen_t};

hook! {
    unsafe fn connect(socket: c_int, address: *const sockaddr, length: socklen_t) -> c_int => hooked {
        connect_in_session(socket, address, length)
    }
}

/// What becomes of one call.
enum Outcome {
    /// The kernel decides.
    Native,
    Connected,
    Failed(Errno),
}

/// connect(2) as the session has it.
pub(crate) extern "C" fn connect_in_session(
    socket: c_int,
    address: *const sockaddr,
    length: socklen_t,
) -> c_int {
    let Some(native) = real::connect.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    // SAFETY: these are the program's own arguments, which the kernel checks
    let native = || unsafe { native(socket, address, length) };
    let Destination::Remote(target) = Destination::read(socket, address, length) else {
        return native();
    };
    let Some(session) = Session::current() else {
        return native();
    };
    let outcome = match Kind::of(socket) {
        Kind::Foreign => Outcome::Native,
        Kind::Uncarried => Outcome::Failed(datagram::UNCARRIED),
        Kind::Tcp if !socket::is_closed(socket) || socket::is_of_other_family(socket, target) => {
            Outcome::Native
        }
        Kind::Tcp => dial(&session, socket, target, native),
    };
    match outcome {
        Outcome::Native => native(),
        Outcome::Connected => 0,
        Outcome::Failed(error) => error.fail(),
    }
}

fn dial(session: &Session, socket: c_int, target: SocketAddr, native: impl Fn() -> c_int) -> Outcome {
    socket::forbid_fast_open(socket);
    let mut buffer = [0; SMALL_REPLY];
    let (reply, is_interrupted) = match ask(session, socket, target, &mut buffer) {
        Ok(answer) => answer,
        Err(Stop::Interrupted) => return Outcome::Failed(Errno(libc::EINTR)),
        Err(Stop::Trouble(trouble)) => return Outcome::Failed(failure::connect_trouble(trouble)),
    };
    match reply {
        ReplyRef::Connected => Outcome::Connected,
        ReplyRef::Local => Outcome::Native,
        ReplyRef::Failed(failed) => Outcome::Failed(failure::connect_errno(failed)),
        ReplyRef::InProgress if socket::is_nonblocking(socket) => Outcome::Failed(Errno(libc::EINPROGRESS)),
        ReplyRef::InProgress if is_interrupted => Outcome::Failed(Errno(libc::EINTR)),
        ReplyRef::InProgress => sleep(session, socket, native),
        // not an answer to what was asked
        ReplyRef::Peer(_) | ReplyRef::Unknown | ReplyRef::Addresses { .. } | ReplyRef::NameFailed(_) => {
            Outcome::Failed(failure::connect_errno(ConnectFailure::TunnelDown))
        }
    }
}

/// Why there is no reply to a connect.
enum Stop {
    /// A second signal came while the first one was being told to the relay.
    Interrupted,
    Trouble(Trouble),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// Asks the relay to connect the socket; gives its reply, and whether a signal cut the wait short.
fn ask<'a>(
    session: &Session,
    socket: c_int,
    target: SocketAddr,
    buffer: &'a mut [u8],
) -> Result<(ReplyRef<'a>, bool), Stop> {
    let conversation = Conversation::start(session, &Request::Connect { target }, Some(socket))?;
    let (received, is_interrupted) = match conversation.receive(buffer) {
        Err(Silence::Interrupted) => {
            conversation.interrupt()?;
            (conversation.receive(buffer), true)
        }
        received => (received, false),
    };
    let length = match received {
        Ok(length) => length,
        Err(Silence::Interrupted) => return Err(Stop::Interrupted),
        Err(Silence::NoRelay) => return Err(Trouble::NoRelay.into()),
    };
    let message = buffer.get(..length).ok_or(Trouble::NoRelay)?;
    let reply = ReplyRef::decode(message).map_err(|_| Trouble::NoRelay)?;
    Ok((reply, is_interrupted))
}

/// Waits in the kernel, which ignores the address of a socket that is connecting.
fn sleep(session: &Session, socket: c_int, native: impl Fn() -> c_int) -> Outcome {
    if native() == 0 {
        return Outcome::Connected;
    }
    let error = Errno::current();
    Outcome::Failed(match error.0 {
        libc::ECONNRESET | libc::ECONNABORTED => stored_failure(session, socket).unwrap_or(error),
        _ => error,
    })
}

/// Why the relay reset this socket, if it did.
pub(crate) fn stored_failure(session: &Session, socket: c_int) -> Option<Errno> {
    let cookie = socket::cookie(socket)?;
    let mut buffer = [0; SMALL_REPLY];
    match control::ask(session, &Request::Failure { cookie }, &mut buffer) {
        Ok(ReplyRef::Failed(failed)) => Some(failure::connect_errno(failed)),
        Ok(_) | Err(_) => None,
    }
}
