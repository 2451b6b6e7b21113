//! Accepts calls on the session's Unix sockets, from the session's own user only.
//!
//! There are two, see `kinject_protocol::control::ControlAddress`: one at a path, one with an abstract name.

use super::conversation::Conversation;
use super::refusals::Refusals;
use super::token;
use crate::{log, network_namespace, readiness};
use kinject_protocol::control::{ControlAddress, Token};
use kinject_protocol::session::Event;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::process::Uid;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// Backlog of calls; further ones sleep in connect(2).
const BACKLOG: i32 = 4096;

/// The sockets at which a session's programs send their calls.
pub(crate) struct ControlSockets {
    /// Each is served by a task of its own.
    pub(crate) listeners: Vec<ControlListener>,
    /// The address for programs, the value of `KINJECT_CONTROL`.
    pub(crate) address: String,
}

impl ControlSockets {
    /// Listens at `path`, which must not exist, and at a random abstract name. Calls of other users are reported as
    /// events.
    pub(crate) fn bind(path: &Path, events: mpsc::Sender<Event>) -> io::Result<Self> {
        let token = token::random()?;
        let refusals = Rc::new(Refusals::new(events));
        let at_path = ControlListener::bind(&SocketAddrUnix::new(path)?, token, Rc::clone(&refusals))?;

        let (name, at_name) = match bind_name(token, refusals) {
            Ok((name, listener)) => (name, Some(listener)),
            Err(error) => {
                log::info!(
                    "programs that cannot access {} are not served: {error}",
                    kinject_escape::path(path)
                );
                (Vec::new(), None)
            }
        };
        let address = ControlAddress {
            name: &name,
            token: &token,
            network: at_path.network(),
        };
        Ok(Self {
            address: String::from_utf8_lossy(&address.to_bytes()).into_owned(),
            listeners: [at_path].into_iter().chain(at_name).collect(),
        })
    }
}

/// Listens at an abstract name that cannot be guessed, so that no other process has bound it.
fn bind_name(token: Token, refusals: Rc<Refusals>) -> io::Result<(Vec<u8>, ControlListener)> {
    let name = [b"kinject-".as_slice(), &token::random()?].concat();
    let listener = ControlListener::bind(&SocketAddrUnix::new_abstract_name(&name)?, token, refusals)?;
    Ok((name, listener))
}

/// A listening control socket.
pub(crate) struct ControlListener {
    socket: AsyncFd<OwnedFd>,
    user: Uid,
    token: Token,
    refusals: Rc<Refusals>,
}

impl ControlListener {
    fn bind(address: &SocketAddrUnix, token: Token, refusals: Rc<Refusals>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::bind(&socket, address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self {
            socket: readiness::watch(socket)?,
            user: rustix::process::geteuid(),
            token,
            refusals,
        })
    }

    /// The network namespace in which it listens.
    pub(crate) fn network(&self) -> Option<u64> {
        network_namespace::cookie_of(self.socket.as_fd())
    }

    /// The next call of this user.
    pub(crate) async fn accept(&self) -> Conversation {
        loop {
            match self.try_accept().await {
                Ok(Some(conversation)) => return conversation,
                Ok(None) => {}
                // out of descriptors or memory: open calls have to end before more can be served
                Err(error) => {
                    log::warn!("cannot accept a call: {error}");
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
            self.refusals.report(caller.as_raw());
            return Ok(None);
        }
        Ok(Some(Conversation::new(socket, self.token)))
    }
}
