//! One stream over two transports: an interactive lane of low latency, and a bulk lane of high throughput.
//!
//! Port-forward has two protocols, one with lower latency and one with higher throughput. A stream that has both sends
//! each piece by the lane that suits it. The second lane may join at any time, or never.
//!
//! ```text
//!                         ┌── interactive: pings, requests, keystrokes ──┐
//!   bytes ──▶ numbered ───┤                                              ├──▶ in order ──▶ bytes
//!             pieces      └── bulk: blocks of a transfer ────────────────┘
//! ```
//!
//! **Wire format.** Both ends have authenticated each other on each transport before ([`crate::link`]). Then the relay
//! sends the opening:
//!
//! ```text
//!   relay → agent   kind (0: a new stream, 1: its second lane)   the stream's number, 16 random bytes
//!   both            position (8 bytes)   length (4)   bytes      position (8)   length (4)   bytes  ...
//! ```
//!
//! The bulk lane carries blocks towards the agent; from the agent it carries little but heartbeats.
//!
//! A position is the number of the stream's bytes before the piece. Pieces of one lane arrive in order, so one of the
//! two pieces at the heads of the lanes is the next one, and the other lane is not read until then: nothing is buffered
//! for reordering. A piece is sent by one lane as a whole, and its bytes are passed on as they arrive.
//!
//! **End.** An error or the end of one lane ends the stream.
//!
//! **Heartbeats.** HTTP/2's PINGs alternate between the lanes, so that no proxy sees an idle connection.

mod joining;
mod lane;

pub use joining::{JoinableStreams, SecondLane, begin};

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::http2::HEARTBEAT;
use crate::transport::Stream;
use lane::{HEADER_BYTES, Lane};

/// Maximum bytes of one write to a transport: a piece's header and its bytes, which are an HTTP/2 frame header and 64
/// KiB.
pub const MOST_BYTES: usize = HEADER_BYTES + MAX_PIECE;

const MAX_PIECE: usize = 64 * 1024 + 9;

/// Towards the agent, writes of up to this size use the interactive lane: both lanes take about as long for them. From
/// the agent all writes use it, since in that direction its throughput equals the bulk lane's.
const SHORT: usize = 8 * 1024;

/// A stream of up to two lanes.
struct Lanes {
    interactive: Lane,
    bulk: Option<Lane>,
    /// Writes of up to this size use the interactive lane.
    max_interactive: usize,
    /// Delivers the second lane.
    joining: Option<oneshot::Receiver<Stream>>,
    /// Bytes that were passed on to the reader.
    received: u64,
    /// Bytes that were sent, also of a piece that is not complete yet.
    sent: u64,
    /// The lane of the piece that is being sent.
    current: Option<LaneKind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LaneKind {
    Interactive,
    Bulk,
}

impl Lanes {
    fn new(stream: Stream, max_interactive: usize, joining: oneshot::Receiver<Stream>) -> Self {
        Self {
            interactive: Lane::new(stream),
            bulk: None,
            max_interactive,
            joining: Some(joining),
            received: 0,
            sent: 0,
            current: None,
        }
    }

    /// Adds the second lane if it has arrived.
    fn poll_joining(&mut self, cx: &mut Context<'_>) {
        let Some(joining) = &mut self.joining else { return };
        match Pin::new(joining).poll(cx) {
            Poll::Ready(Ok(stream)) => self.bulk = Some(Lane::new(stream)),
            // it will not come
            Poll::Ready(Err(_)) => {}
            Poll::Pending => return,
        }
        self.joining = None;
    }

    /// The lane for a piece of so many bytes.
    fn choose(&self, bytes: usize, now: impl FnOnce() -> Instant) -> LaneKind {
        let Some(bulk) = &self.bulk else {
            return LaneKind::Interactive;
        };
        if bytes > self.max_interactive {
            return LaneKind::Bulk;
        }
        match bulk.idle_since < self.interactive.idle_since && now() - bulk.idle_since >= HEARTBEAT {
            true => LaneKind::Bulk,
            false => LaneKind::Interactive,
        }
    }

    fn lane(&mut self, kind: LaneKind) -> &mut Lane {
        match (kind, &mut self.bulk) {
            (LaneKind::Bulk, Some(bulk)) => bulk,
            (LaneKind::Bulk, None) | (LaneKind::Interactive, _) => &mut self.interactive,
        }
    }

    fn lanes(&mut self) -> impl Iterator<Item = &mut Lane> {
        std::iter::once(&mut self.interactive).chain(&mut self.bulk)
    }
}

impl AsyncRead for Lanes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.poll_joining(cx);
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let (received, before) = (this.received, buffer.filled().len());
        let mut polled = this.lanes().map(|lane| lane.poll_next(cx, received, buffer));
        let Some(ready) = polled.find_map(ready) else {
            return Poll::Pending;
        };
        drop(polled);
        this.received += (buffer.filled().len() - before) as u64;
        Poll::Ready(ready)
    }
}

impl AsyncWrite for Lanes {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let all = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if all == 0 {
            return Poll::Ready(Ok(0));
        }
        let kind = match this.current {
            Some(kind) => kind,
            None => {
                let kind = this.choose(all, Instant::now);
                let (position, length) = (this.sent, all.min(MAX_PIECE));
                this.lane(kind).begin(position, length);
                this.current = Some(kind);
                kind
            }
        };
        let lane = this.lane(kind);
        let written = lane.poll_write(cx, slices)?;
        if lane.is_piece_sent() {
            this.current = None;
        }
        written.map(|count| {
            this.sent += count as u64;
            Ok(count)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_all(cx, Lane::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_all(cx, Lane::poll_shutdown)
    }
}

impl Lanes {
    /// Ready when every lane is.
    fn poll_all(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl Fn(&mut Lane, &mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        let mut all = Poll::Ready(Ok(()));
        for lane in self.lanes() {
            if poll(lane, cx)?.is_pending() {
                all = Poll::Pending;
            }
        }
        all
    }
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests;
