//! From the tunnel into the socket.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2::{Reason, RecvStream};
use tokio::io::AsyncWrite;
use tokio::net::tcp::WriteHalf;

use super::queue::{PIECES, Queue};
use super::{CLOSE_YIELDS, SpliceEnd, stream_end};
use crate::coop::yield_to_reactor;
use crate::http2::UnreadShare;

/// Bytes that are gathered for one write while the socket accepts them.
const GATHER_BYTES: usize = 64 * 1024;

/// One direction. The bytes that wait for the socket are bounded by the stream's window, which is released as they are
/// written.
pub(super) struct Inbound {
    queue: Queue,
    /// The connection's share of the tunnel's unread bytes.
    unread: UnreadShare,
    /// How the stream ended: by END_STREAM, or by a failure. None while it is open.
    ended: Option<StreamEnd>,
    received: u64,
    /// How often the shutdown of the socket has yielded to other tasks.
    close_yields: u8,
}

/// How the direction ended.
pub(super) enum InboundEnd {
    /// All bytes were written to the socket, and FIN was sent to its peer.
    Finished,
    /// Writing to the socket failed.
    SocketFailed,
    /// The stream failed.
    Stream(SpliceEnd),
}

/// How the stream ended.
#[derive(Clone, Copy)]
enum StreamEnd {
    Finished,
    Failed(SpliceEnd),
}

/// Whether more bytes may be available at once. If not, the task is woken when they arrive.
#[derive(PartialEq)]
enum Pulled {
    Enough,
    All,
}

impl Inbound {
    pub(super) fn new(unread: UnreadShare) -> Self {
        Self {
            queue: Queue::default(),
            unread,
            ended: None,
            received: 0,
            close_yields: 0,
        }
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Whether the stream has ended in order, possibly in both directions.
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
        self.unread.set(self.queue.len());
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
                    // Closes are scheduled after connects.
                    Some(StreamEnd::Finished) if self.close_yields < CLOSE_YIELDS => {
                        self.close_yields += 1;
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
                    if pulled == Pulled::All && self.queue.is_empty() && self.ended.is_none() {
                        return Poll::Pending;
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(InboundEnd::SocketFailed),
                Poll::Pending => {
                    // The bytes stay in the queue, where small frames are packed and a reset is noticed.
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

    /// Takes bytes that have arrived from the stream, up to about `enough`.
    fn pull(&mut self, cx: &mut Context<'_>, recv: &mut RecvStream, enough: usize) -> Pulled {
        while self.ended.is_none() {
            if self.queue.len() >= enough || (enough != usize::MAX && self.queue.pieces() >= PIECES) {
                return Pulled::Enough;
            }
            match recv.poll_data(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => self.ended = Some(StreamEnd::Finished),
                Poll::Ready(Some(Ok(bytes))) => self.queue.push(bytes),
                Poll::Ready(Some(Err(error))) if is_orderly_close(&error) => {
                    self.ended = Some(StreamEnd::Finished)
                }
                Poll::Ready(Some(Err(error))) => self.ended = Some(StreamEnd::Failed(stream_end(&error))),
            }
        }
        Pulled::All
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

/// Whether the other end has closed its connection in order, in both directions at once.
fn is_orderly_close(error: &h2::Error) -> bool {
    error.is_reset() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR)
}
