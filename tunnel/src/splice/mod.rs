//! Joins a TCP connection with a stream of the tunnel until both directions have ended.
//!
//! Relay and agent use it alike: the socket is the program's at one end and the service's at the other.
//!
//! | TCP side | tunnel side |
//! |---|---|
//! | FIN | END_STREAM; the other direction goes on (half-close) |
//! | FIN of a socket that its program has closed | RST_STREAM with NO_ERROR in place of END_STREAM, when everything before it has left: nothing has to come back |
//! | RST, or any error of the socket | RST_STREAM with CONNECT_ERROR, after the bytes that came before it |
//! | RST (SO_LINGER 0) | RST_STREAM with any other code |
//! | RST | the tunnel is lost |
//!
//! An end that is gone after its FIN has left nothing unsaid: what it said is still delivered, to a reader however slow,
//! and a reader that takes nothing any more is given up after five minutes (`orphan`).
//!
//! **Backpressure.** A socket is read only when HTTP/2 has room for the bytes, so nothing piles up behind a slow
//! tunnel; a stream's window is given back only when the bytes are in the socket, so nothing piles up behind a slow
//! program either, beyond the stream's own window.
//!
//! **Memory.** No direction holds a buffer while it is idle. Reads go into a block that all connections of the
//! thread share, small ones are copied out of it.

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

/// How often the runtime may ask for news before an end is passed on: a connection that someone waits for goes first,
/// and takes two steps when what it waits for is already there.
const RESTS: u8 = 2;

/// How a connection went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpliceOutcome {
    /// Bytes from the socket into the tunnel.
    pub sent: u64,
    /// Bytes from the tunnel into the socket.
    pub received: u64,
    /// What ended it.
    pub end: SpliceEnd,
}

/// What ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpliceEnd {
    /// Both directions came to their end.
    Finished,
    /// The socket failed: reset by its peer, or its peer vanished. The stream was reset.
    SocketFailed(io::ErrorKind),
    /// The other end of the tunnel reset the stream. The socket was reset.
    StreamReset,
    /// The tunnel was lost. The socket was reset.
    TunnelLost,
}

/// What the two directions know of each other.
struct Shared {
    /// Payloads of the outbound direction that are not written yet.
    flight: Arc<InFlight>,
    /// The tunnel has nothing more for the socket, which may not have taken everything yet.
    inbound_complete: AtomicBool,
    /// Bytes that the socket has taken.
    written: AtomicU64,
    /// The tunnel's direction has ended, and the socket was told.
    inbound_done: AtomicBool,
    /// The socket's direction has ended, and the tunnel was told.
    outbound_done: AtomicBool,
    /// The socket takes no more bytes: it was reset.
    write_failed: AtomicBool,
    /// Takes the stream once both directions are closed.
    close_coalescer: CloseCoalescer,
}

/// Copies both directions until both have ended, or either side fails.
///
/// When the socket's peer has said FIN, `is_closed` tells whether nobody holds that peer any more, as far as it can be
/// known.
///
/// Dropping the future closes the socket and resets the stream with CANCEL.
pub async fn splice(tcp: TcpStream, stream: TunnelStream, is_closed: impl Fn() -> bool) -> SpliceOutcome {
    splice_until(tcp, stream, is_closed, pending()).await
}

/// The same where the peer may be closed later than it said FIN: `is_closed` is asked again when `last` is ready.
pub async fn splice_until(
    mut tcp: TcpStream,
    stream: TunnelStream,
    is_closed: impl Fn() -> bool,
    last: impl Future<Output = ()>,
) -> SpliceOutcome {
    let TunnelStream {
        mut send,
        mut recv,
        receiver: _for_as_long_as_it_receives,
        waiting,
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
    let mut inbound = Inbound::new(waiting);
    let mut sent = 0;
    let end = {
        let (read, mut write) = tcp.split();
        let mut outbound = pin!(outbound::run(
            read, &mut send, &scheduler, &shared, is_closed, last, &mut sent
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
        // Nobody waits for this close.
        rests().await;
    } else {
        // A socket that cannot be told is closed already.
        let _ = SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
    }
    allocator::connection_ended(sent + inbound.received());
    SpliceOutcome {
        sent,
        received: inbound.received(),
        end,
    }
}

/// Lets the runtime ask for news, that often.
async fn rests() {
    for _ in 0..RESTS {
        tokio::task::yield_now().await;
    }
}

/// Has the kernel ask after a silent peer, so that a connection whose other end vanished without a word is noticed
/// within two minutes.
pub fn keep_alive(tcp: &impl AsFd) -> io::Result<()> {
    let often = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10))
        .with_retries(6);
    SockRef::from(tcp).set_tcp_keepalive(&often)
}

/// How an error of the stream ends the connection.
fn stream_end(error: &h2::Error) -> SpliceEnd {
    match error.is_reset() {
        true => SpliceEnd::StreamReset,
        false => SpliceEnd::TunnelLost,
    }
}
