//! Accepts calls on the session's Unix socket, from the session's own user only.

use super::conversation::Conversation;
use crate::readiness;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::process::Uid;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// Calls that may wait to be accepted; further ones sleep in connect(2).
const BACKLOG: i32 = 4096;

/// The listening control socket.
pub(crate) struct ControlListener {
    socket: AsyncFd<OwnedFd>,
    user: Uid,
}

impl ControlListener {
    /// Listens at `path`, which must not exist; its folder keeps other users out, and [`Self::accept`] does so again.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self {
            socket: readiness::watch(socket)?,
            user: rustix::process::geteuid(),
        })
    }

    /// The next call of this user.
    pub(crate) async fn accept(&self) -> Conversation {
        loop {
            match self.try_accept().await {
                Ok(Some(conversation)) => return conversation,
                Ok(None) => {}
                // out of descriptors or memory: what is open now has to end before more can be served
                Err(error) => {
                    crate::log::warn!("cannot accept a call: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn try_accept(&self) -> io::Result<Option<Conversation>> {
        let mut ready = self.socket.readable().await?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = match rustix::net::accept_with(&self.socket, flags) {
            Ok(socket) => socket,
            Err(rustix::io::Errno::AGAIN) => {
                ready.clear_ready();
                return Ok(None);
            }
            Err(rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let caller = sockopt::socket_peercred(&socket)?.uid;
        if caller != self.user {
            crate::log::warn!("refused a call of user {}", caller.as_raw());
            return Ok(None);
        }
        Ok(Some(Conversation::new(socket)))
    }
}
