//! One lane: pieces of a stream, each with its place in it, over one transport.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::transport::Stream;

/// Bytes before each piece: its position and its length.
pub(super) const HEAD_BYTES: usize = 12;
/// What is read ahead: with a piece's head often comes all of it.
const STASH_BYTES: usize = 4096;
/// More slices than HTTP/2 writes at once.
const MOST_SLICES: usize = 64;

/// One lane.
pub(super) struct Lane {
    stream: Stream,
    incoming: Incoming,
    /// The head of the piece that is being sent, as far as it has not gone out.
    head: [u8; HEAD_BYTES],
    head_sent: usize,
    /// Bytes of it that are still to come.
    to_send: usize,
    /// Since when nothing was begun here.
    pub(super) rested_since: Instant,
    needs_flush: bool,
}

/// What comes in.
struct Incoming {
    stash: Box<[u8; STASH_BYTES]>,
    /// What was read into it, and how much of that was taken.
    filled: usize,
    taken: usize,
    /// The piece that is coming in: its next byte's place in the stream, and how many bytes are left.
    piece: Option<(u64, usize)>,
}

impl Lane {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            incoming: Incoming {
                stash: Box::new([0; STASH_BYTES]),
                filled: 0,
                taken: 0,
                piece: None,
            },
            head: [0; HEAD_BYTES],
            head_sent: HEAD_BYTES,
            to_send: 0,
            rested_since: Instant::now(),
            needs_flush: false,
        }
    }

    /// Reads what is next in the stream, if it comes by this lane: bytes, or nothing at the lane's end. Pending while it
    /// does not, or while this lane has nothing.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        next: u64,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, incoming, .. } = self;
        let (place, left) = loop {
            if let Some(piece) = incoming.piece {
                break piece;
            }
            if let Some(head) = incoming.take_head() {
                incoming.piece = Some(head?);
                continue;
            }
            if ready!(incoming.poll_fill(cx, stream))? == 0 {
                return match incoming.filled {
                    0 => Poll::Ready(Ok(())),
                    _ => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                };
            }
        };
        if place > next {
            // the other lane's turn
            return Poll::Pending;
        }
        if place < next {
            return Poll::Ready(Err(malformed("a piece came twice")));
        }
        let count = match incoming.hand_over(left, into) {
            0 => ready!(poll_read_at_most(cx, stream, left, into))?,
            count => count,
        };
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        incoming.piece = (count < left).then(|| (place + count as u64, left - count));
        Poll::Ready(Ok(()))
    }

    /// Begins a piece.
    pub(super) fn begin(&mut self, position: u64, length: usize) {
        let (place, size) = self.head.split_at_mut(8);
        place.copy_from_slice(&position.to_be_bytes());
        size.copy_from_slice(&(length as u32).to_be_bytes());
        self.head_sent = 0;
        self.to_send = length;
        self.rested_since = Instant::now();
    }

    /// Whether no piece is being sent.
    pub(super) fn is_between(&self) -> bool {
        self.head_sent == HEAD_BYTES && self.to_send == 0
    }

    /// Sends bytes of the piece that was begun; gives how many.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let head = &self.head[self.head_sent..];
            let mut parts = [IoSlice::new(&[]); MOST_SLICES];
            let mut count = 0;
            if !head.is_empty() {
                parts[0] = IoSlice::new(head);
                count = 1;
            }
            let mut room = self.to_send;
            for (part, slice) in parts[count..].iter_mut().zip(slices) {
                let length = slice.len().min(room);
                *part = IoSlice::new(&slice[..length]);
                room -= length;
                count += 1;
                if room == 0 {
                    break;
                }
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &parts[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.needs_flush = true;
            let of_head = written.min(HEAD_BYTES - self.head_sent);
            self.head_sent += of_head;
            self.to_send -= written - of_head;
            if written > of_head {
                return Poll::Ready(Ok(written - of_head));
            }
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.needs_flush {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Incoming {
    /// The head of the next piece, if all of it is there.
    fn take_head(&mut self) -> Option<io::Result<(u64, usize)>> {
        let head: &[u8; HEAD_BYTES] = self.stash[self.taken..self.filled].first_chunk()?;
        let [p0, p1, p2, p3, p4, p5, p6, p7, l0, l1, l2, l3] = *head;
        self.taken += HEAD_BYTES;
        let position = u64::from_be_bytes([p0, p1, p2, p3, p4, p5, p6, p7]);
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        Some(match length {
            1..=super::MOST_PIECE => Ok((position, length)),
            _ => Err(malformed("a piece is empty or too long")),
        })
    }

    /// Reads more behind what is left; gives how much.
    fn poll_fill(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<usize>> {
        self.stash.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.taken = 0;
        let mut room = ReadBuf::new(&mut self.stash[self.filled..]);
        ready!(Pin::new(stream).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        self.filled += count;
        Poll::Ready(Ok(count))
    }

    /// Hands on what was read ahead of a piece; gives how much.
    fn hand_over(&mut self, left: usize, into: &mut ReadBuf<'_>) -> usize {
        let count = (self.filled - self.taken).min(left).min(into.remaining());
        into.put_slice(&self.stash[self.taken..self.taken + count]);
        self.taken += count;
        count
    }
}

/// Reads no more than `most` bytes; gives how many.
fn poll_read_at_most(
    cx: &mut Context<'_>,
    stream: &mut Stream,
    most: usize,
    into: &mut ReadBuf<'_>,
) -> Poll<io::Result<usize>> {
    let before = into.filled().len();
    ready!(Pin::new(&mut stream.take(most as u64)).poll_read(cx, into))?;
    Poll::Ready(Ok(into.filled().len() - before))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
