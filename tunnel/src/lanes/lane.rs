//! One lane: pieces of a stream, each with its position in it, over one transport.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::transport::Stream;

/// Bytes of the header before each piece: its position and its length.
pub(super) const HEADER_BYTES: usize = 12;
/// Bytes that are read ahead: a read of a piece's header often returns all of the piece.
const READ_AHEAD_BYTES: usize = 4096;
/// More slices than HTTP/2 writes at once.
const MAX_SLICES: usize = 64;

/// One lane.
pub(super) struct Lane {
    stream: Stream,
    incoming: Incoming,
    /// The header of the piece that is being sent.
    header: [u8; HEADER_BYTES],
    header_sent: usize,
    /// Bytes of the piece that are still to be sent.
    to_send: usize,
    /// When the last piece was begun.
    pub(super) idle_since: Instant,
    needs_flush: bool,
}

/// The receiving side of a lane.
struct Incoming {
    buffer: Box<[u8; READ_AHEAD_BYTES]>,
    /// How many bytes were read into the buffer, and how many of them were consumed.
    filled: usize,
    consumed: usize,
    /// The piece that is being received: the position of its next byte, and how many bytes are left.
    piece: Option<(u64, usize)>,
}

impl Lane {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            incoming: Incoming {
                buffer: Box::new([0; READ_AHEAD_BYTES]),
                filled: 0,
                consumed: 0,
                piece: None,
            },
            header: [0; HEADER_BYTES],
            header_sent: HEADER_BYTES,
            to_send: 0,
            idle_since: Instant::now(),
            needs_flush: false,
        }
    }

    /// Reads the stream's next bytes if this lane has them; none at the lane's end. Pending while the other lane has
    /// them, or while nothing has arrived.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        next: u64,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, incoming, .. } = self;
        let (position, left) = loop {
            if let Some(piece) = incoming.piece {
                break piece;
            }
            if let Some(header) = incoming.take_header() {
                incoming.piece = Some(header?);
                continue;
            }
            if ready!(incoming.poll_fill(cx, stream))? == 0 {
                return match incoming.filled {
                    0 => Poll::Ready(Ok(())),
                    _ => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                };
            }
        };
        if position > next {
            // the other lane has the next bytes
            return Poll::Pending;
        }
        if position < next {
            return Poll::Ready(Err(malformed("a piece came twice")));
        }
        let count = match incoming.copy_read_ahead(left, into) {
            0 => ready!(poll_read_at_most(cx, stream, left, into))?,
            count => count,
        };
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        incoming.piece = (count < left).then(|| (position + count as u64, left - count));
        Poll::Ready(Ok(()))
    }

    /// Begins a piece.
    pub(super) fn begin(&mut self, position: u64, length: usize) {
        let (first, size) = self.header.split_at_mut(8);
        first.copy_from_slice(&position.to_be_bytes());
        size.copy_from_slice(&(length as u32).to_be_bytes());
        self.header_sent = 0;
        self.to_send = length;
        self.idle_since = Instant::now();
    }

    /// Whether no piece is being sent.
    pub(super) fn is_piece_sent(&self) -> bool {
        self.header_sent == HEADER_BYTES && self.to_send == 0
    }

    /// Sends bytes of the current piece; returns how many.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let header = &self.header[self.header_sent..];
            let mut parts = [IoSlice::new(&[]); MAX_SLICES];
            let mut count = 0;
            if !header.is_empty() {
                parts[0] = IoSlice::new(header);
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
            let of_header = written.min(HEADER_BYTES - self.header_sent);
            self.header_sent += of_header;
            self.to_send -= written - of_header;
            if written > of_header {
                return Poll::Ready(Ok(written - of_header));
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
    /// The header of the next piece, if all of it has arrived.
    fn take_header(&mut self) -> Option<io::Result<(u64, usize)>> {
        let header: &[u8; HEADER_BYTES] = self.buffer[self.consumed..self.filled].first_chunk()?;
        let [p0, p1, p2, p3, p4, p5, p6, p7, l0, l1, l2, l3] = *header;
        self.consumed += HEADER_BYTES;
        let position = u64::from_be_bytes([p0, p1, p2, p3, p4, p5, p6, p7]);
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        Some(match length {
            1..=super::MAX_PIECE => Ok((position, length)),
            _ => Err(malformed("a piece is empty or too long")),
        })
    }

    /// Reads more bytes behind those that are left; returns how many.
    fn poll_fill(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<usize>> {
        self.buffer.copy_within(self.consumed..self.filled, 0);
        self.filled -= self.consumed;
        self.consumed = 0;
        let mut room = ReadBuf::new(&mut self.buffer[self.filled..]);
        ready!(Pin::new(stream).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        self.filled += count;
        Poll::Ready(Ok(count))
    }

    /// Copies bytes of a piece that were read ahead; returns how many.
    fn copy_read_ahead(&mut self, left: usize, into: &mut ReadBuf<'_>) -> usize {
        let count = (self.filled - self.consumed).min(left).min(into.remaining());
        into.put_slice(&self.buffer[self.consumed..self.consumed + count]);
        self.consumed += count;
        count
    }
}

/// Reads up to `most` bytes; returns how many.
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
