//! One call of the preloaded library: a datagram in, a datagram out. The first begins with the session's token.

use super::token;
use crate::{log, readiness};
use kinject_protocol::control::{MAX_REQUEST, MAX_SMALL_REQUEST, Reply, TOKEN_LENGTH, Token};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// How long a library may take between connecting and sending its request. It does both in a row, so only a foreign or
/// a stopped process exceeds it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a request beyond [`MAX_SMALL_REQUEST`], and one more to detect that it is too long.
const REST: usize = MAX_REQUEST - MAX_SMALL_REQUEST + 1;

thread_local! {
    /// The receive buffer of these bytes, which are copied out of it at once.
    static REST_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; REST].into_boxed_slice());
}

/// How often to try to receive the request before the reactor is used.
const ATTEMPTS: usize = 3;

/// A received request, with the descriptor that was attached to it.
pub(crate) struct Received {
    small: [u8; MAX_SMALL_REQUEST],
    length: usize,
    /// The complete request, if it is not small.
    long: Vec<u8>,
    /// The program's socket.
    pub(crate) socket: Option<OwnedFd>,
}

impl Received {
    /// The datagram. One that is longer than any request is truncated, and decoding refuses it.
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.long.is_empty() {
            &self.small[..self.length]
        } else {
            &self.long
        }
    }
}

/// The relay's end of one call.
pub(crate) struct Conversation {
    socket: OwnedFd,
    token: Token,
}

impl Conversation {
    /// Takes an accepted, non-blocking socket.
    pub(crate) fn new(socket: OwnedFd, token: Token) -> Self {
        Self { socket, token }
    }

    /// Reads the request; `None` when the caller hung up without one. One without the token is `PermissionDenied`.
    pub(crate) async fn receive(&self) -> io::Result<Option<Received>> {
        // the library sends its request right after it has connected: yielding to it costs less than epoll
        for _ in 0..ATTEMPTS {
            match self.try_receive() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                done => return done,
            }
        }
        let readiness = readiness::watch(self.socket.try_clone()?)?;
        tokio::time::timeout(REQUEST_TIMEOUT, async {
            loop {
                let mut ready = readiness.readable().await?;
                match self.try_receive() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                    done => return done,
                }
            }
        })
        .await?
    }

    fn try_receive(&self) -> io::Result<Option<Received>> {
        let mut received = Received {
            small: [0; MAX_SMALL_REQUEST],
            length: 0,
            long: Vec::new(),
            socket: None,
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let mut presented = [0; TOKEN_LENGTH];
        let received_length = REST_BUFFER.with_borrow_mut(|rest| {
            let buffers = &mut [
                IoSliceMut::new(&mut presented),
                IoSliceMut::new(&mut received.small),
                IoSliceMut::new(rest),
            ];
            let received_length = rustix::net::recvmsg(&self.socket, buffers, &mut ancillary, flags)?.bytes;
            let length = received_length.saturating_sub(TOKEN_LENGTH);
            if let Some(beyond) = length.checked_sub(MAX_SMALL_REQUEST).filter(|beyond| *beyond > 0) {
                received.long = [received.small.as_slice(), &rest[..beyond]].concat();
            }
            Ok::<_, io::Error>(received_length)
        })?;
        if received_length == 0 {
            return Ok(None);
        }
        // an attached descriptor is closed with the buffer
        if !token::is_right(&presented, &self.token) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it does not show the session's token",
            ));
        }
        for attached in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = attached {
                received.socket = descriptors.last();
            }
        }
        received.length = received_length.saturating_sub(TOKEN_LENGTH);
        Ok(Some(received))
    }

    /// Sends the reply; a caller that is gone needs none.
    pub(crate) fn answer(&self, reply: &Reply) {
        log_error(self.reply(reply));
    }

    /// Sends a file as the reply.
    pub(crate) fn answer_with(&self, file: BorrowedFd<'_>) {
        log_error(self.reply_with(file));
    }

    /// The reply fits the socket's buffer, which holds nothing else.
    fn reply(&self, reply: &Reply) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(64);
        reply.encode(&mut buffer);
        sent(rustix::net::send(
            &self.socket,
            &buffer,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        ))
    }

    fn reply_with(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(2);
        Reply::File.encode(&mut buffer);
        let files = [file];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&files));
        sent(rustix::net::sendmsg(
            &self.socket,
            &[IoSlice::new(&buffer)],
            &mut ancillary,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        ))
    }
}

fn sent(outcome: rustix::io::Result<usize>) -> io::Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(Errno::PIPE | Errno::CONNRESET) => Err(io::ErrorKind::BrokenPipe.into()),
        Err(error) => Err(error.into()),
    }
}

/// Logs an error of sending a reply.
fn log_error(answered: io::Result<()>) {
    match answered {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => log::warn!("cannot answer a call: {error}"),
    }
}
