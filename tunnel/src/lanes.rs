//! One stream over two transports: a lane for what is in haste, and one for what is much.
//!
//! Some ways into a cluster come in two kinds, of which one is soon there and the other carries more. A stream that has
//! both sends each piece by the lane that suits it. The second lane may join at any time, or never.
//!
//! ```text
//!                         ┌──── haste: pings, requests, keystrokes ────┐
//!   bytes ──▶ numbered ───┤                                            ├──▶ in their order ──▶ bytes
//!             pieces      └──── bulk: blocks of a transfer ────────────┘
//! ```
//!
//! **The bytes.** Both ends have proven themselves on each transport before ([`crate::link`]). Then the relay begins:
//!
//! ```text
//!   relay → agent   kind (0: a new stream, 1: its second lane)   the stream's number, 16 random bytes
//!   both            position (8 bytes)   length (4)   bytes      position (8)   length (4)   bytes  ...
//! ```
//!
//! The second lane carries blocks towards the agent; from there it has little to carry but signs of life.
//!
//! A position counts the stream's bytes before the piece. Pieces of one lane come in their order, so that of the two pieces
//! at the heads of the lanes one is next, and the other lane is not read before its turn: nothing is kept here. A
//! piece goes by one lane as a whole, and its bytes are handed on as they come.
//!
//! **Ends.** What breaks one lane breaks the stream.
//!
//! **Signs of life.** Each lane takes one of those that HTTP/2 sends, by turns: no proxy on the way sees an idle connection.

mod lane;
mod meeting;

pub use meeting::{Meetings, SecondLane, begin};

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::http2::HEARTBEAT;
use crate::transport::Stream;
use lane::{HEAD_BYTES, Lane};

/// The most that a transport gets at once: the head of a piece and its bytes, 64 KiB behind the head of an HTTP/2 frame.
pub const MOST_BYTES: usize = HEAD_BYTES + MOST_PIECE;

const MOST_PIECE: usize = 64 * 1024 + 9;

/// Towards the agent, what is no longer than this is in haste: it takes either lane about as long to arrive. From the agent
/// everything goes by that lane, which carries as much there as the other one.
const SHORT: usize = 8 * 1024;

/// A stream of up to two lanes.
struct Lanes {
    haste: Lane,
    bulk: Option<Lane>,
    /// What is no longer goes by the lane for what is in haste.
    short: usize,
    /// Where the second lane comes from.
    joining: Option<oneshot::Receiver<Stream>>,
    /// Bytes that were handed on.
    received: u64,
    /// Bytes that were sent, the rest of a piece that was begun among them.
    sent: u64,
    /// The lane of a piece that was begun.
    begun: Option<Which>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Haste,
    Bulk,
}

impl Lanes {
    fn new(stream: Stream, short: usize, joining: oneshot::Receiver<Stream>) -> Self {
        Self {
            haste: Lane::new(stream),
            bulk: None,
            short,
            joining: Some(joining),
            received: 0,
            sent: 0,
            begun: None,
        }
    }

    /// Lets the second lane in when it is there.
    fn poll_joining(&mut self, cx: &mut Context<'_>) {
        let Some(joining) = &mut self.joining else { return };
        match Pin::new(joining).poll(cx) {
            Poll::Ready(Ok(stream)) => self.bulk = Some(Lane::new(stream)),
            // it never comes
            Poll::Ready(Err(_)) => {}
            Poll::Pending => return,
        }
        self.joining = None;
    }

    /// The lane for a piece of so many bytes.
    fn choose(&self, bytes: usize, now: impl FnOnce() -> Instant) -> Which {
        let Some(bulk) = &self.bulk else {
            return Which::Haste;
        };
        if bytes > self.short {
            return Which::Bulk;
        }
        match bulk.rested_since < self.haste.rested_since && now() - bulk.rested_since >= HEARTBEAT {
            true => Which::Bulk,
            false => Which::Haste,
        }
    }

    fn lane(&mut self, which: Which) -> &mut Lane {
        match (which, &mut self.bulk) {
            (Which::Bulk, Some(bulk)) => bulk,
            (Which::Bulk, None) | (Which::Haste, _) => &mut self.haste,
        }
    }

    fn lanes(&mut self) -> impl Iterator<Item = &mut Lane> {
        std::iter::once(&mut self.haste).chain(&mut self.bulk)
    }
}

impl AsyncRead for Lanes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.poll_joining(cx);
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let (received, before) = (this.received, into.filled().len());
        let mut polled = this.lanes().map(|lane| lane.poll_next(cx, received, into));
        let Some(ready) = polled.find_map(ready) else {
            return Poll::Pending;
        };
        drop(polled);
        this.received += (into.filled().len() - before) as u64;
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
        let which = match this.begun {
            Some(which) => which,
            None => {
                let which = this.choose(all, Instant::now);
                let (position, length) = (this.sent, all.min(MOST_PIECE));
                this.lane(which).begin(position, length);
                this.begun = Some(which);
                which
            }
        };
        let lane = this.lane(which);
        let written = lane.poll_write(cx, slices)?;
        if lane.is_between() {
            this.begun = None;
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
