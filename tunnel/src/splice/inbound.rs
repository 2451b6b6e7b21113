//! From the tunnel into the socket.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2::{Reason, RecvStream};
use tokio::io::AsyncWrite;
use tokio::net::tcp::WriteHalf;

use super::queue::{PIECES, Queue};
use super::{RESTS, SpliceEnd, stream_end};
use crate::coop::yield_to_reactor;
use crate::http2::Share;

/// Bytes that are gathered for one write while the socket takes them.
const GATHER_BYTES: usize = 64 * 1024;

/// One direction. What waits for the socket is bounded by the stream's window, which is given back as bytes are
/// written.
pub(super) struct Inbound {
    queue: Queue,
    /// Its bytes among those of all connections.
    waiting: Share,
    /// The tunnel has nothing more: it sent END_STREAM, or the stream failed.
    ended: Option<StreamEnd>,
    received: u64,
    /// How often the end of the stream was put off.
    rests: u8,
}

/// How the direction ended.
pub(super) enum InboundEnd {
    /// All bytes are in the socket, and its peer was sent FIN.
    Finished,
    /// The socket takes no more.
    SocketFailed,
    /// The stream failed.
    Stream(SpliceEnd),
}

/// How the tunnel's side ended.
#[derive(Clone, Copy)]
enum StreamEnd {
    Finished,
    Failed(SpliceEnd),
}

/// Whether the tunnel may have more for us right away. If not, the task is woken when it has.
#[derive(PartialEq)]
enum Pulled {
    Enough,
    Everything,
}

impl Inbound {
    pub(super) fn new(waiting: Share) -> Self {
        Self {
            queue: Queue::default(),
            waiting,
            ended: None,
            received: 0,
            rests: 0,
        }
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Whether the tunnel has ended its direction in order, and possibly the other one with it.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.ended, Some(StreamEnd::Finished))
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        recv: &mut RecvStream,
        write: &mut WriteHalf<'_>,
        outbound_done: bool,
    ) -> Poll<InboundEnd> {
        let end = self.poll_end(cx, recv, write, outbound_done);
        self.waiting.set(self.queue.len());
        end
    }

    fn poll_end(
        &mut self,
        cx: &mut Context<'_>,
        recv: &mut RecvStream,
        write: &mut WriteHalf<'_>,
        outbound_done: bool,
    ) -> Poll<InboundEnd> {
        loop {
            let pulled = self.pull(cx, recv, GATHER_BYTES);
            if self.queue.is_empty() {
                return match self.ended {
                    None => Poll::Pending,
                    Some(StreamEnd::Failed(end)) => Poll::Ready(InboundEnd::Stream(end)),
                    // Closing the socket sends FIN as well.
                    Some(StreamEnd::Finished) if outbound_done => Poll::Ready(InboundEnd::Finished),
                    // What begins goes before what ends.
                    Some(StreamEnd::Finished) if self.rests < RESTS => {
                        self.rests += 1;
                        yield_to_reactor(cx);
                        Poll::Pending
                    }
                    Some(StreamEnd::Finished) => {
                        Poll::Ready(match ready!(Pin::new(write).poll_shutdown(cx)) {
                            Ok(()) => InboundEnd::Finished,
                            Err(_) => InboundEnd::SocketFailed,
                        })
                    }
                };
            }
            match self.poll_write(cx, write) {
                Poll::Ready(Ok(count)) => {
                    self.received += count as u64;
                    if let Err(error) = recv.flow_control().release_capacity(count) {
                        return Poll::Ready(InboundEnd::Stream(stream_end(&error)));
                    }
                    if pulled == Pulled::Everything && self.queue.is_empty() && self.ended.is_none() {
                        return Poll::Pending;
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(InboundEnd::SocketFailed),
                Poll::Pending => {
                    // The bytes will wait here, where small frames cost little and a reset is noticed.
                    self.queue.pack();
                    self.pull(cx, recv, usize::MAX);
                    return match self.ended {
                        Some(StreamEnd::Failed(end)) => Poll::Ready(InboundEnd::Stream(end)),
                        _ => Poll::Pending,
                    };
                }
            }
        }
    }

    /// Takes what has arrived, up to about so many bytes.
    fn pull(&mut self, cx: &mut Context<'_>, recv: &mut RecvStream, enough: usize) -> Pulled {
        while self.ended.is_none() {
            if self.queue.len() >= enough || (enough != usize::MAX && self.queue.pieces() >= PIECES) {
                return Pulled::Enough;
            }
            match recv.poll_data(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => self.ended = Some(StreamEnd::Finished),
                Poll::Ready(Some(Ok(bytes))) => self.queue.push(bytes),
                Poll::Ready(Some(Err(error))) if says_closed(&error) => {
                    self.ended = Some(StreamEnd::Finished)
                }
                Poll::Ready(Some(Err(error))) => self.ended = Some(StreamEnd::Failed(stream_end(&error))),
            }
        }
        Pulled::Everything
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, write: &mut WriteHalf<'_>) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); PIECES];
        let count = match self.queue.front(&mut slices) {
            1 => ready!(Pin::new(write).poll_write(cx, &slices[0]))?,
            pieces => ready!(Pin::new(write).poll_write_vectored(cx, &slices[..pieces]))?,
        };
        self.queue.advance(count);
        Poll::Ready(Ok(count))
    }
}

/// Whether the other end has closed its connection in order, both ways at once.
fn says_closed(error: &h2::Error) -> bool {
    error.is_reset() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR)
}
