//! Network namespaces, identified by the kernel's cookie (`SO_NETNS_COOKIE`).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// The cookie of a socket's network namespace; none on a kernel before Linux 5.14.
pub(crate) fn cookie_of(socket: BorrowedFd<'_>) -> Option<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the option writes at most `length` = 8 bytes into `cookie`
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    (result == 0).then_some(cookie)
}

/// Whether a program's socket is of another network namespace than the relay's `own`: the relay cannot connect to it,
/// and its connections use that namespace's network.
pub(crate) fn is_another(own: Option<u64>, socket: impl AsFd) -> bool {
    match (own, cookie_of(socket.as_fd())) {
        (Some(own), Some(sockets)) => own != sockets,
        _ => false,
    }
}
