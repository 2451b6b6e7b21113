//! What is left of a connection when one end has gone after it said everything, and the other end's socket has not
//! taken all of it yet.
//!
//! A kernel goes on for a closed socket: what was written before is delivered, however slowly the reader takes it. But
//! it gives up a reader that takes nothing any more, after some minutes (tcp(7), `tcp_orphan_retries`). We do the same.
//! Progress is what the reader's kernel has acknowledged, of which it tells us long before our own socket becomes
//! writable again.

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

use super::Shared;

/// How long a reader may take nothing, once nobody waits for it. A kernel waits for about three and a half minutes.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until the reader of this socket has taken nothing for too long.
pub(super) async fn given_up(tcp: &TcpStream, shared: &Shared) {
    let mut before = acknowledged(tcp, shared);
    loop {
        sleep(PATIENCE).await;
        let now = acknowledged(tcp, shared);
        if now == before {
            return;
        }
        before = now;
    }
}

/// Bytes that have reached the peer of this socket.
fn acknowledged(tcp: &TcpStream, shared: &Shared) -> u64 {
    let mut waiting: libc::c_int = 0;
    // SAFETY: the request (tcp(7), SIOCOUTQ) writes one int, which outlives the call
    let asked = unsafe { libc::ioctl(tcp.as_raw_fd(), libc::TIOCOUTQ, &raw mut waiting) };
    // of a socket that cannot be asked, what was written has to do
    let waiting = if asked == 0 { waiting } else { 0 };
    let written = shared.written.load(Ordering::Relaxed);
    written.saturating_sub(u64::try_from(waiting).unwrap_or_default())
}
