//! One call of the preloaded library: a datagram in, a datagram out.

use crate::readiness;
use kinject_protocol::control::{MAX_REQUEST, Reply};
use rustix::io::{Errno, IoSliceMut};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long a library may take between connecting and asking. It does both in one breath, so that only a stranger
/// or a process that was stopped in between is cut off.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request as it came, with the descriptor that was attached to it.
pub(crate) struct Received {
    bytes: [u8; MAX_REQUEST + 1],
    length: usize,
    /// The program's socket.
    pub(crate) socket: Option<OwnedFd>,
}

impl Received {
    /// The datagram; one that is longer than any request is cut, and decoding refuses it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The relay's end of one call.
pub(crate) struct Conversation(OwnedFd);

impl Conversation {
    /// Takes over an accepted, non-blocking socket.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Reads the request; `None` when the caller hung up without one.
    pub(crate) async fn receive(&self) -> io::Result<Option<Received>> {
        // the library's request is there before the relay wakes, so that epoll is rarely asked
        match self.try_receive() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        let readiness = readiness::watch(self.0.try_clone()?)?;
        tokio::time::timeout(PATIENCE, async {
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
            bytes: [0; MAX_REQUEST + 1],
            length: 0,
            socket: None,
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let buffers = &mut [IoSliceMut::new(&mut received.bytes)];
        let message = rustix::net::recvmsg(&self.0, buffers, &mut ancillary, flags)?;
        for attached in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = attached {
                received.socket = descriptors.last();
            }
        }
        received.length = message.bytes;
        Ok(if message.bytes == 0 { None } else { Some(received) })
    }

    /// Answers. The reply fits the socket's buffer, which holds nothing else.
    pub(crate) fn reply(&self, reply: &Reply) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(64);
        reply.encode(&mut buffer);
        match rustix::net::send(&self.0, &buffer, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(_) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(error) => Err(error.into()),
        }
    }
}
