//! Accepts calls on the session's Unix sockets, from the session's own user only.
//!
//! There are two of them, see `kinject_protocol::control::ControlAddress`: one at a path, one with a name.

use super::conversation::Conversation;
use super::token;
use crate::{log, network_namespace, readiness};
use kinject_protocol::control::{ControlAddress, Token};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::process::Uid;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// Calls that may wait to be accepted; further ones sleep in connect(2).
const BACKLOG: i32 = 4096;

/// The sockets at which a session's programs ask.
pub(crate) struct ControlSockets {
    /// Each is to be served by itself.
    pub(crate) listeners: Vec<ControlListener>,
    /// What programs have to know, the value of `KINJECT_CONTROL`.
    pub(crate) address: String,
}

impl ControlSockets {
    /// Listens at `path`, which must not exist, and at a name of random digits.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let token = token::random()?;
        let at_path = ControlListener::bind(&SocketAddrUnix::new(path)?, token)?;

        let (name, at_name) = match bind_name(token) {
            Ok((name, listener)) => (name, Some(listener)),
            Err(error) => {
                log::info!(
                    "programs that do not see {} are not served: {error}",
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

/// Listens at a name that nobody can guess, so that nobody is there first.
fn bind_name(token: Token) -> io::Result<(Vec<u8>, ControlListener)> {
    let name = [b"kinject-".as_slice(), &token::random()?].concat();
    let listener = ControlListener::bind(&SocketAddrUnix::new_abstract_name(&name)?, token)?;
    Ok((name, listener))
}

/// A listening control socket.
pub(crate) struct ControlListener {
    socket: AsyncFd<OwnedFd>,
    user: Uid,
    token: Token,
    /// Whom a refusal was logged of: everybody sees the name, and may call as often as they like.
    refused: RefCell<BTreeSet<u32>>,
}

/// Refusals of more users than this are not logged.
const MOST_REFUSED: usize = 16;

impl ControlListener {
    fn bind(address: &SocketAddrUnix, token: Token) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::bind(&socket, address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self {
            socket: readiness::watch(socket)?,
            user: rustix::process::geteuid(),
            token,
            refused: RefCell::default(),
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
                // out of descriptors or memory: what is open now has to end before more can be served
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
            let mut refused = self.refused.borrow_mut();
            if refused.len() < MOST_REFUSED && refused.insert(caller.as_raw()) {
                log::warn!("refused a call of user {}", caller.as_raw());
            }
            return Ok(None);
        }
        Ok(Some(Conversation::new(socket, self.token)))
    }
}
