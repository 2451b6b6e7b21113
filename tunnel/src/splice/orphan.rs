//! A connection whose one end has closed, while bytes that it sent still wait for the other end's socket.
//!
//! A kernel delivers what was written to a socket before it was closed, however slowly the reader reads. But it resets
//! the connection of a reader that reads nothing for some minutes (tcp(7), `tcp_orphan_retries`). This module does the
//! same. Progress is measured by the bytes that the reader's kernel has acknowledged, which increase long before our
//! own socket becomes writable again.

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

use super::Shared;

/// How long the reader of an orphaned connection may read nothing. A kernel waits for about three and a half minutes.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(300);

/// Waits until the reader of this socket has read nothing for [`STALL_TIMEOUT`].
pub(super) async fn stalled(tcp: &TcpStream, shared: &Shared) {
    let mut before = acknowledged(tcp, shared);
    loop {
        sleep(STALL_TIMEOUT).await;
        let now = acknowledged(tcp, shared);
        if now == before {
            return;
        }
        before = now;
    }
}

/// Bytes that the peer of this socket has acknowledged.
fn acknowledged(tcp: &TcpStream, shared: &Shared) -> u64 {
    let mut unacknowledged: libc::c_int = 0;
    // SAFETY: the request (tcp(7), SIOCOUTQ) writes one int, which outlives the call
    let result = unsafe { libc::ioctl(tcp.as_raw_fd(), libc::TIOCOUTQ, &raw mut unacknowledged) };
    // if the call fails, all written bytes count as acknowledged
    let unacknowledged = if result == 0 { unacknowledged } else { 0 };
    let written = shared.written.load(Ordering::Relaxed);
    written.saturating_sub(u64::try_from(unacknowledged).unwrap_or_default())
}
