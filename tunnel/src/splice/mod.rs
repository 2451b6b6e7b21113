//! Joins a TCP connection with a stream of the tunnel until both directions have ended.
//!
//! Relay and agent use it alike: the socket is the program's at one end and the service's at the other.
//!
//! | TCP side | tunnel side |
//! |---|---|
//! | FIN | END_STREAM; the other direction goes on (half-close) |
//! | FIN of a socket that its program has closed | RST_STREAM with NO_ERROR in place of END_STREAM, after all bytes before it were written: it closes both directions |
//! | RST, or any error of the socket | RST_STREAM with CONNECT_ERROR, after the bytes received before it |
//! | RST (SO_LINGER 0) | RST_STREAM with any other code |
//! | RST | the tunnel is lost |
//!
//! If an end closes after its FIN, the bytes that it sent are still delivered, to a reader however slow. A reader that
//! reads nothing is reset after five minutes (`orphan`).
//!
//! **Backpressure.** A socket is read only when the stream has window for the bytes, so no bytes accumulate behind a
//! slow tunnel. A stream's window is released only when the bytes are written to the socket, so at most one window
//! accumulates behind a slow program.
//!
//! **Memory.** No direction holds a buffer while it is idle. Reads use a block that all connections of the thread
//! share, and small reads are copied out of it.

mod block;
mod inbound;
mod orphan;
mod outbound;
mod queue;

use std::future::{Future, pending, poll_fn};
use std::io;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::allocator;
use crate::http2::{CloseCoalescer, TunnelStream};
use crate::payload::InFlight;
use inbound::{Inbound, InboundEnd};
use outbound::Closed;

/// How often a close yields to the reactor, so that it is scheduled after connects, for which a program waits. A
/// connect whose events are pending takes two turns.
const CLOSE_YIELDS: u8 = 2;

/// The outcome of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpliceOutcome {
    /// Bytes from the socket into the tunnel.
    pub sent: u64,
    /// Bytes from the tunnel into the socket.
    pub received: u64,
    /// How it ended.
    pub end: SpliceEnd,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpliceEnd {
    /// Both directions ended in order.
    Finished,
    /// The socket failed: reset by its peer, or its peer vanished. The stream was reset.
    SocketFailed(io::ErrorKind),
    /// The other end of the tunnel reset the stream. The socket was reset.
    StreamReset,
    /// The tunnel was lost. The socket was reset.
    TunnelLost,
}

/// State that the two directions share.
struct Shared {
    /// Queued payloads of the outbound direction.
    flight: Arc<InFlight>,
    /// The stream has ended in order; bytes may still wait for the socket.
    inbound_complete: AtomicBool,
    /// Bytes that were written to the socket.
    written: AtomicU64,
    /// The inbound direction has ended, and FIN was sent to the socket's peer.
    inbound_done: AtomicBool,
    /// The outbound direction has ended, and END_STREAM was sent.
    outbound_done: AtomicBool,
    /// Writing to the socket failed: it was reset.
    write_failed: AtomicBool,
    /// Sends the stream's RST_STREAM once both directions are closed.
    close_coalescer: CloseCoalescer,
}

/// Copies both directions until both have ended, or either side fails.
///
/// After FIN from the socket's peer, `is_closed` returns whether that peer socket is known to be closed.
///
/// Dropping the future closes the socket and resets the stream with CANCEL.
pub async fn splice(tcp: TcpStream, stream: TunnelStream, is_closed: impl Fn() -> bool) -> SpliceOutcome {
    splice_until(tcp, stream, is_closed, pending()).await
}

/// The same where the peer may be closed some time after its FIN: `is_closed` is called again when `recheck` is ready.
pub async fn splice_until(
    mut tcp: TcpStream,
    stream: TunnelStream,
    is_closed: impl Fn() -> bool,
    recheck: impl Future<Output = ()>,
) -> SpliceOutcome {
    let TunnelStream {
        mut send,
        mut recv,
        receiver: _registered,
        unread,
        scheduler,
        close_coalescer,
    } = stream;
    let shared = Shared {
        flight: Arc::default(),
        inbound_complete: AtomicBool::new(false),
        written: AtomicU64::new(0),
        inbound_done: AtomicBool::new(false),
        outbound_done: AtomicBool::new(false),
        write_failed: AtomicBool::new(false),
        close_coalescer,
    };
    let mut inbound = Inbound::new(unread);
    let mut sent = 0;
    let end = {
        let (read, mut write) = tcp.split();
        let mut outbound = pin!(outbound::run(
            read, &mut send, &scheduler, &shared, is_closed, recheck, &mut sent
        ));
        let mut inbound_running = true;
        poll_fn(|cx| {
            let outbound_done = shared.outbound_done.load(Ordering::Relaxed);
            if inbound_running
                && let Poll::Ready(end) = inbound.poll(cx, &mut recv, &mut write, outbound_done)
            {
                inbound_running = false;
                match end {
                    InboundEnd::Finished => shared.inbound_done.store(true, Ordering::Relaxed),
                    InboundEnd::SocketFailed => shared.write_failed.store(true, Ordering::Relaxed),
                    InboundEnd::Stream(end) => return Poll::Ready(Err(end)),
                }
            }
            if inbound.is_complete() {
                shared.inbound_complete.store(true, Ordering::Relaxed);
                shared.written.store(inbound.received(), Ordering::Relaxed);
            }
            if let Poll::Ready(end) = outbound.as_mut().poll(cx) {
                return Poll::Ready(end);
            }
            match shared.inbound_done.load(Ordering::Relaxed) && shared.outbound_done.load(Ordering::Relaxed)
            {
                true => Poll::Ready(Err(SpliceEnd::Finished)),
                false => Poll::Pending,
            }
        })
        .await
    };
    let end = match end {
        Ok(Closed) => {
            shared.close_coalescer.close(send);
            SpliceEnd::Finished
        }
        Err(end) => end,
    };
    if end == SpliceEnd::Finished {
        // Closes are scheduled after connects.
        yield_before_close().await;
    } else {
        // An error means that the socket is closed already.
        let _ = SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
    }
    allocator::connection_ended(sent + inbound.received());
    SpliceOutcome {
        sent,
        received: inbound.received(),
        end,
    }
}

/// Lets connects that have pending events run first.
async fn yield_before_close() {
    for _ in 0..CLOSE_YIELDS {
        tokio::task::yield_now().await;
    }
}

/// Enables TCP keepalive, so that a peer that vanished without FIN or RST is noticed within two minutes.
pub fn keep_alive(tcp: &impl AsFd) -> io::Result<()> {
    let often = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10))
        .with_retries(6);
    SockRef::from(tcp).set_tcp_keepalive(&often)
}

/// The end of a connection whose stream failed with this error.
fn stream_end(error: &h2::Error) -> SpliceEnd {
    match error.is_reset() {
        true => SpliceEnd::StreamReset,
        false => SpliceEnd::TunnelLost,
    }
}
