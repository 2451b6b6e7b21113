//! One conversation with the relay.
//!
//! Each call of a hook that needs the relay opens a socket, sends a request, reads the reply and closes the socket: the
//! program may close every descriptor that it does not know, fork, or start threads between two calls
//! (`kinject_protocol::control`). Nothing is allocated here.

mod ask_error;
mod network;

pub(crate) use ask_error::AskError;
pub(crate) use network::{is_in_other_network, session_of_this_network};

use crate::errno::Errno;
use crate::session::Session;
use crate::sys::{self, Descriptor};
use crate::user;
use core::mem::offset_of;
use core::ptr;
use kinject_protocol::control::{ControlAddress, EncodedRequest, ReplyRef, Request, Token};
use libc::{c_char, c_int, cmsghdr, iovec, msghdr, sockaddr_un, socklen_t};
use network::is_other_network;

/// The size of a buffer for every reply but those about names.
pub(crate) const SMALL_REPLY: usize = 64;

/// How long to poll for a reply before sleeping, in nanoseconds: longer than the relay takes for an answer from memory.
const POLL_TIME: i64 = 70_000;

/// The most polls within that, for a clock that stands still.
const MAX_POLLS: usize = 400;

/// Why there is no answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReceiveError {
    /// A signal handler ran; the caller may wait again.
    Interrupted,
    /// The conversation ended without a reply.
    NoRelay,
}

/// Sends one request and waits for the reply, through signals as libc's own lookups do.
pub(crate) fn ask<'a>(
    session: &Session,
    request: &Request<'_>,
    buffer: &'a mut [u8],
) -> Result<ReplyRef<'a>, AskError> {
    ask_as(session, request, Subject::Thread, buffer)
}

/// The same about a socket, whose network namespace decides whether the relay is asked. The relay does not get the
/// socket.
pub(crate) fn ask_about<'a>(
    session: &Session,
    request: &Request<'_>,
    socket: c_int,
    buffer: &'a mut [u8],
) -> Result<ReplyRef<'a>, AskError> {
    ask_as(session, request, Subject::Socket(socket), buffer)
}

/// The same with the socket, which the relay gets.
pub(crate) fn ask_passing<'a>(
    session: &Session,
    request: &Request<'_>,
    socket: c_int,
    buffer: &'a mut [u8],
) -> Result<ReplyRef<'a>, AskError> {
    ask_as(session, request, Subject::PassedSocket(socket), buffer)
}

fn ask_as<'a>(
    session: &Session,
    request: &Request<'_>,
    subject: Subject,
    buffer: &'a mut [u8],
) -> Result<ReplyRef<'a>, AskError> {
    let conversation = Conversation::start(session, request, subject)?;
    let length = loop {
        match conversation.receive_polling(buffer) {
            Ok(length) => break length,
            Err(ReceiveError::Interrupted) => {}
            Err(ReceiveError::NoRelay) => return Err(AskError::NoRelay),
        }
    };
    let message = buffer.get(..length).ok_or(AskError::NoRelay)?;
    ReplyRef::decode(message).map_err(|_| AskError::NoRelay)
}

/// Asks for a file; the reply comes with its descriptor, which is close-on-exec.
pub(crate) fn ask_for_file(session: &Session, request: &Request<'_>) -> Result<Descriptor, AskError> {
    let conversation = Conversation::start(session, request, Subject::Thread)?;
    let mut buffer = [0; SMALL_REPLY];
    let (length, file) = loop {
        match conversation.receive_with_descriptor(&mut buffer) {
            Err(Errno(libc::EINTR)) => {}
            received => break received.map_err(AskError::from_file)?,
        }
    };
    match (buffer.get(..length).map(ReplyRef::decode), file) {
        (Some(Ok(ReplyRef::File)), Some(file)) => Ok(file),
        _ => Err(AskError::NoRelay),
    }
}

/// What a request is about, which decides to which network namespace it belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    /// Nothing but the calling thread.
    Thread,
    /// A socket of the program's.
    Socket(c_int),
    /// The same, and the relay gets the socket.
    PassedSocket(c_int),
}

impl Subject {
    fn socket(self) -> Option<c_int> {
        match self {
            Self::Thread => None,
            Self::Socket(socket) | Self::PassedSocket(socket) => Some(socket),
        }
    }

    fn passed(self) -> Option<c_int> {
        match self {
            Self::Thread | Self::Socket(_) => None,
            Self::PassedSocket(socket) => Some(socket),
        }
    }
}

/// A connected socket on which the request was sent.
pub(crate) struct Conversation(Descriptor);

impl Conversation {
    /// Connects to the relay and sends the request, with the subject's socket if that is passed.
    pub(crate) fn start(
        session: &Session,
        request: &Request<'_>,
        subject: Subject,
    ) -> Result<Self, AskError> {
        let relay = session.relay().ok_or(AskError::NoRelay)?;
        let conversation = Self::open(session, &relay, subject)?;
        conversation.send(relay.token, &request.encode(), subject.passed())?;
        Ok(conversation)
    }

    /// Connects to the relay. The call is about the network namespace of the socket, or of the calling thread.
    ///
    /// The relay's abstract name is tried first: it needs no file system, and connecting to it is faster. It does not
    /// exist in another network namespace, and a sandbox may forbid such names (Landlock, AppArmor). The path is for
    /// such sandboxes alone, since it leads across network namespaces.
    fn open(session: &Session, relay: &ControlAddress<'_>, subject: Subject) -> Result<Self, AskError> {
        let conversation = Self(open()?);
        let named = name_address(relay.name);
        if named.is_none_or(|(address, length)| conversation.connect(&address, length).is_err()) {
            if is_other_network(relay, subject.socket().unwrap_or(conversation.0.raw())) {
                return Err(AskError::OtherNetwork);
            }
            let path = session.path().ok_or(AskError::NoRelay)?;
            let connected = conversation.connect(&path, size_of::<sockaddr_un>() as socklen_t);
            connected.map_err(|_| AskError::NoRelay)?;
        }
        conversation.check_listener()?;
        Ok(conversation)
    }

    /// Waits for the reply; gives its length.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Result<usize, ReceiveError> {
        match sys::recv(self.0.raw(), buffer, 0) {
            Ok(0) => Err(ReceiveError::NoRelay),
            Ok(length) => Ok(length),
            Err(Errno(libc::EINTR)) => Err(ReceiveError::Interrupted),
            Err(_) => Err(ReceiveError::NoRelay),
        }
    }

    /// The same for a reply that comes with a descriptor.
    fn receive_with_descriptor(&self, buffer: &mut [u8]) -> Result<(usize, Option<Descriptor>), Errno> {
        let mut part = iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        let mut rights = Rights::new(-1);
        let mut message = empty_message();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut rights).cast();
        message.msg_controllen = size_of::<Rights>() as _;
        // SAFETY: the header, its part, the buffer and the rights are writable until the end of this function
        let length = unsafe { sys::recvmsg(self.0.raw(), &raw mut message, libc::MSG_CMSG_CLOEXEC) }?;
        let is_filled = message.msg_controllen >= Rights::LENGTH;
        // SAFETY: the kernel created the descriptor for this call
        let descriptor = is_filled.then(|| unsafe { Descriptor::from_raw(rights.descriptor) });
        Ok((length, descriptor))
    }

    /// The same for a reply that the relay may have ready: the call polls for a moment before it sleeps. A processor
    /// that goes idle takes as long to wake as the relay takes to answer.
    fn receive_polling(&self, buffer: &mut [u8]) -> Result<usize, ReceiveError> {
        let end = monotonic().saturating_add(POLL_TIME);
        for _ in 0..MAX_POLLS {
            match sys::recv(self.0.raw(), buffer, libc::MSG_DONTWAIT) {
                Ok(length) if length > 0 => return Ok(length),
                // the relay, or another process, may need this processor
                Err(Errno(libc::EAGAIN)) if monotonic() < end => sys::yield_processor(),
                // end of file, which Linux also reports if reply and end of file arrive during the call
                _ => break,
            }
        }
        self.receive(buffer)
    }

    /// Waits while the relay's backlog is full, which is about as long as the relay needs for one call.
    fn connect(&self, relay: &sockaddr_un, length: socklen_t) -> Result<(), Errno> {
        loop {
            // SAFETY: the address is readable for its length, which is no more than that of the whole
            match unsafe { sys::connect(self.0.raw(), ptr::from_ref(relay).cast(), length) } {
                Err(Errno(libc::EINTR)) => {}
                done => return done,
            }
        }
    }

    /// Requires that the listener belongs to this process's user, before anything is sent: after the end of a session
    /// any process may listen at its path. `SO_PEERCRED` has the credentials of the process that called listen(2)
    /// (unix(7)).
    fn check_listener(&self) -> Result<(), AskError> {
        let listener: Credentials = sys::socket_option(self.0.raw(), libc::SOL_SOCKET, libc::SO_PEERCRED)
            .map_err(|_| AskError::NoRelay)?;
        user::is_own(listener.user).then_some(()).ok_or(AskError::NoRelay)
    }

    fn send(
        &self,
        token: &Token,
        request: &EncodedRequest<'_>,
        passed: Option<c_int>,
    ) -> Result<(), AskError> {
        let [head, tail] = request.parts();
        let mut parts = [token, head, tail].map(|bytes: &[u8]| iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        });
        let mut rights = passed.map(Rights::new);
        let (control, control_length) = match &mut rights {
            Some(rights) => (ptr::from_mut(rights).cast(), size_of::<Rights>()),
            None => (ptr::null_mut(), 0),
        };
        let mut message = empty_message();
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = parts.len() as _;
        message.msg_control = control;
        message.msg_controllen = control_length as _;
        loop {
            // SAFETY: the header, its parts, the bytes and the rights all live until the end of this function
            match unsafe { sys::sendmsg(self.0.raw(), &raw const message, libc::MSG_NOSIGNAL) } {
                Ok(_) => return Ok(()),
                Err(Errno(libc::EINTR)) => {}
                Err(error) => return Err(AskError::from_send(error)),
            }
        }
    }
}

fn empty_message() -> msghdr {
    // SAFETY: a message header of zeros is an empty one, also in the fields that are padding
    unsafe { core::mem::zeroed() }
}

/// The address of a name in the abstract namespace, and its length; none if the name is empty or too long.
fn name_address(name: &[u8]) -> Option<(sockaddr_un, socklen_t)> {
    let mut address = sockaddr_un {
        sun_family: libc::AF_UNIX as libc::sa_family_t,
        sun_path: [0; 108],
    };
    if name.is_empty() || name.len() >= address.sun_path.len() {
        return None;
    }
    // an abstract name begins with a null
    for (field, byte) in address.sun_path.iter_mut().skip(1).zip(name) {
        *field = *byte as c_char;
    }
    let length = offset_of!(sockaddr_un, sun_path)
        .saturating_add(1)
        .saturating_add(name.len());
    Some((address, length as socklen_t))
}

/// `CLOCK_MONOTONIC` in nanoseconds; reading it is no system call (vdso(7)).
fn monotonic() -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the time is writable; every kernel has this clock
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec)
}

/// Opens the socket, with a number above those of the standard streams: in a program that closed its standard error,
/// another thread's message must not reach the relay.
fn open() -> Result<Descriptor, AskError> {
    let socket = sys::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0)
        .map_err(AskError::from_socket)?;
    if socket.raw() > libc::STDERR_FILENO {
        return Ok(socket);
    }
    sys::duplicate_above_standard_streams(&socket).map_err(AskError::from_socket)
}

/// struct ucred of unix(7).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Credentials {
    process: libc::pid_t,
    user: libc::uid_t,
    group: libc::gid_t,
}

/// One descriptor as ancillary data (cmsg(3)).
#[repr(C)]
struct Rights {
    header: cmsghdr,
    descriptor: c_int,
    padding: c_int,
}

// the kernel rounds up to whole words, as the struct does
const _: () = assert!(size_of::<Rights>().is_multiple_of(size_of::<usize>()));

impl Rights {
    /// The length without the padding.
    const LENGTH: usize = size_of::<cmsghdr>() + size_of::<c_int>();

    fn new(descriptor: c_int) -> Self {
        Self {
            header: cmsghdr {
                cmsg_len: Self::LENGTH as _,
                cmsg_level: libc::SOL_SOCKET,
                cmsg_type: libc::SCM_RIGHTS,
            },
            descriptor,
            padding: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abstract_name_follows_a_null_and_fits_the_address() {
        let (address, length) = name_address(b"kinject").unwrap();
        assert_eq!(
            address.sun_path[..8],
            [0_u8, b'k', b'i', b'n', b'j', b'e', b'c', b't'].map(|byte| byte as c_char)
        );
        assert_eq!(length as usize, offset_of!(sockaddr_un, sun_path) + 8);
        assert!(name_address(&[b'n'; 107]).is_some());
        assert!(name_address(&[b'n'; 108]).is_none());
        assert!(name_address(b"").is_none());
    }
}
