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

use crate::address::{Destination, RawAddress};
use crate::control::{self, AskError, Conversation, ReceiveError, SMALL_REPLY, Subject};
use crate::datagram::{self, Route};
use crate::errno::{self, Errno};
use crate::session::Session;
use crate::socket::{self, Kind};
use crate::{failure, real};
use core::net::SocketAddr;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use kinject_protocol::ConnectFailure;
use kinject_protocol::control::{ReplyRef, Request};
use libc::{c_int, sockaddr, socklen_t};

hook! {
    unsafe fn connect(socket: c_int, address: *const sockaddr, length: socklen_t) -> c_int => hooked {
        connect_in_session(socket, address, length)
    }
}

hook! {
    unsafe fn __connect(socket: c_int, address: *const sockaddr, length: socklen_t) -> c_int => hooked_alias {
        alias_in_session(socket, address, length)
    }
}

/// Whether this process has begun a connect that may fail while nobody waits in it. What another program began by a socket that this
/// one inherited does not count.
static HAS_BEGUN: AtomicBool = AtomicBool::new(false);

/// Is this TCP socket at rest after a connect of this process that failed while nobody waited in it? One that never began such a
/// connect is told so without a system call.
pub(crate) fn has_failed(socket: c_int) -> bool {
    HAS_BEGUN.load(Ordering::Relaxed) && socket::is_spent(socket)
}

/// libc's function.
type Native = unsafe extern "C" fn(c_int, *const sockaddr, socklen_t) -> c_int;

/// What becomes of one call.
enum Outcome {
    /// The kernel decides.
    Native,
    /// The kernel decides, about this address: it stands for the pod's own.
    Redirected(SocketAddr),
    Connected,
    Failed(Errno),
}

/// connect(2) as the session has it.
pub(crate) extern "C" fn connect_in_session(
    socket: c_int,
    address: *const sockaddr,
    length: socklen_t,
) -> c_int {
    connect_by(real::connect.get(), socket, address, length)
}

extern "C" fn alias_in_session(socket: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    connect_by(real::__connect.get(), socket, address, length)
}

#[inline]
fn connect_by(native: Option<Native>, socket: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    let Some(native) = native else {
        return Errno(libc::ENOSYS).fail();
    };
    // SAFETY: these are the program's own arguments, which the kernel checks
    let pass_on = || unsafe { native(socket, address, length) };
    let target = match Destination::read(address, length) {
        Destination::Remote(target) => target,
        Destination::Unspecified(_) => {
            dissolving(socket);
            return pass_on();
        }
        Destination::Here => {
            return match untold_failure(socket) {
                Some(failure) => failure.fail(),
                None => pass_on(),
            };
        }
        Destination::Native => return pass_on(),
    };
    let Some(session) = Session::current() else {
        return pass_on();
    };
    let outcome = match Kind::of(socket) {
        Kind::Foreign => Outcome::Native,
        Kind::Uncarried if control::is_elsewhere(&session, socket) => Outcome::Native,
        Kind::Uncarried => Outcome::Failed(datagram::UNCARRIED),
        Kind::Udp => match datagram::connect(&session, socket, target) {
            Route::Flow(_) => Outcome::Connected,
            Route::Failed(error) => Outcome::Failed(error),
            Route::StandIn(address) => Outcome::Redirected(address),
            Route::Native | Route::Tcp => Outcome::Native,
        },
        Kind::Tcp if socket::is_of_other_family(socket, target) => Outcome::Native,
        Kind::Tcp => connect_stream(&session, native, socket, target),
    };
    match outcome {
        Outcome::Native => pass_on(),
        Outcome::Redirected(address) => {
            let family = socket::internet_family(socket).unwrap_or(libc::AF_UNSPEC);
            let there = RawAddress::new(address, family);
            let (address, length) = there.as_raw();
            // SAFETY: the address is ours and lives until the call is over
            unsafe { native(socket, address, length) }
        }
        Outcome::Connected => 0,
        Outcome::Failed(error) => error.fail(),
    }
}

/// The socket's association is about to be dissolved.
fn dissolving(socket: c_int) {
    let Some(session) = Session::current() else {
        return;
    };
    if Kind::of(socket) != Kind::Tcp {
        return datagram::dissolving(socket);
    }
    if !socket::is_closed(socket) || socket::is_spent(socket) {
        let _told_by_nobody = forgotten_failure(&session, socket);
    }
}

/// The failure of an earlier connect to the cluster, which the program has to be told before it connects to this
/// machine by the same socket.
fn untold_failure(socket: c_int) -> Option<Errno> {
    let session = Session::current()?;
    if !socket::is_spent(socket) {
        return None;
    }
    told_failure(&session, socket)
}

/// A failure that connect(2) tells now; the socket is as new afterwards.
fn told_failure(session: &Session, socket: c_int) -> Option<Errno> {
    let failure = forgotten_failure(session, socket)?;
    socket::renew(socket);
    Some(failure)
}

/// Has the relay forget the socket; gives the failure that it remembered.
fn forgotten_failure(session: &Session, socket: c_int) -> Option<Errno> {
    let cookie = socket::cookie(socket)?;
    let mut buffer = [0; SMALL_REPLY];
    match control::ask_about(session, &Request::Disconnect { cookie }, socket, &mut buffer) {
        Ok(ReplyRef::Failed(failed)) => Some(failure::connect_errno(failed)),
        // without a relay there is nothing that it could remember
        Ok(_) | Err(_) => None,
    }
}

/// A socket that is not new is the kernel's business, which knows more of it than its state: `EISCONN` for one that was
/// ever connected, `EALREADY` or the wait for a connect that is under way, its error for one whose connect has failed. After
/// that, and for a socket that is new, it looks at the address.
fn connect_stream(session: &Session, native: Native, socket: c_int, target: SocketAddr) -> Outcome {
    match resume(native, socket) {
        Ok(()) => Outcome::Connected,
        Err(Errno(libc::EINVAL)) => dial(session, native, socket, target),
        // the relay reset it: the program slept here again, after a signal
        Err(error @ Errno(libc::ECONNRESET | libc::ECONNABORTED)) => {
            Outcome::Failed(told_failure(session, socket).unwrap_or(error))
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

/// Why the relay reset this socket, if it did.
pub(crate) fn stored_failure(session: &Session, socket: c_int) -> Option<Errno> {
    let cookie = socket::cookie(socket)?;
    let mut buffer = [0; SMALL_REPLY];
    match control::ask_about(session, &Request::Failure { cookie }, socket, &mut buffer) {
        Ok(ReplyRef::Failed(failed)) => Some(failure::connect_errno(failed)),
        Ok(_) | Err(_) => None,
    }
}
