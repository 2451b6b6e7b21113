//! Sockets that tokio has no type for, watched by its reactor.

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// Watches a socket.
pub(crate) fn watch(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by the value that is registered, so that it is open for as long as it is watched
    let watched = unsafe { AsyncFd::register(socket) };
    watched.map_err(Into::into)
}
