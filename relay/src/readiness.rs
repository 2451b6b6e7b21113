//! Registers sockets for which tokio has no type with its reactor.

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// Registers a socket.
pub(crate) fn watch(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the registered value owns the descriptor, so that it is open for as long as it is registered
    let watched = unsafe { AsyncFd::register(socket) };
    watched.map_err(Into::into)
}
