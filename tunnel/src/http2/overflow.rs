//! A write overflow buffer: h2 continues to read while writes to the transport are blocked.
//!
//! h2 answers PING and SETTINGS before it reads on. While the transport blocks on data that is queued before such an
//! answer, h2 does not read. If both ends have an answer to send while both directions are full, each waits for the
//! other to read: a deadlock.
//!
//! ```text
//!          full, and not read                        its own SETTINGS, or an answer to a PING,
//!    relay ══════════════════════▶ agent             is queued behind a partly written DATA frame
//!          ◀══════════════════════
//! ```
//!
//! So a poll whose write was blocked before it had read everything is repeated, and until it reads, its writes are
//! buffered in memory: usually the rest of one DATA frame.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::FRAME_BYTES;
use crate::transport::Stream;

/// Maximum bytes in memory. A peer that requests more answers without reading them has to wait.
const MAX_BYTES: usize = 8 * FRAME_BYTES as usize;

/// A transport whose writes are buffered in memory while it has to be read first.
pub(super) struct OverflowTransport {
    stream: Stream,
    /// Bytes that were accepted and not yet written.
    buffer: BytesMut,
    control: OverflowControl,
}

/// The connection's handle to the overflow buffer.
#[derive(Clone, Default)]
pub(super) struct OverflowControl(Arc<Flags>);

#[derive(Default)]
struct Flags {
    /// The last read was pending.
    read_pending: AtomicBool,
    /// A write or a flush was pending.
    write_blocked: AtomicBool,
    /// Writes are buffered until the next read.
    accepts_overflow: AtomicBool,
}

impl OverflowControl {
    /// Whether the transport accepted all writes of the last poll.
    pub(super) fn is_flushed(&self) -> bool {
        !self.0.write_blocked.load(Ordering::Relaxed)
    }

    /// Polls the connection that owns the transport, until it has read all available bytes.
    pub(super) fn poll<T>(&self, mut connection: impl FnMut() -> Poll<T>) -> Poll<T> {
        let Flags {
            read_pending,
            write_blocked,
            accepts_overflow,
        } = &*self.0;
        loop {
            read_pending.store(false, Ordering::Relaxed);
            write_blocked.store(false, Ordering::Relaxed);
            let polled = connection();
            // A second poll with overflow would not read either.
            let used_overflow = accepts_overflow.swap(false, Ordering::Relaxed);
            let is_blocked = write_blocked.load(Ordering::Relaxed) && !read_pending.load(Ordering::Relaxed);
            if polled.is_ready() || used_overflow || !is_blocked {
                return polled;
            }
            accepts_overflow.store(true, Ordering::Relaxed);
        }
    }
}

impl OverflowTransport {
    pub(super) fn new(stream: Stream) -> (Self, OverflowControl) {
        let control = OverflowControl::default();
        (
            Self {
                stream,
                buffer: BytesMut::new(),
                control: control.clone(),
            },
            control,
        )
    }

    /// Writes the buffer and then `bufs` by `write`, or appends `bufs` to the buffer.
    fn write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        write: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let written = match self.poll_buffer(cx)? {
            Poll::Ready(()) => write(Pin::new(&mut self.stream), cx),
            Poll::Pending => Poll::Pending,
        };
        if written.is_pending() {
            self.control.0.write_blocked.store(true, Ordering::Relaxed);
            if self.may_buffer() {
                let before = self.buffer.len();
                bufs.iter().for_each(|buf| self.buffer.extend_from_slice(buf));
                return Poll::Ready(Ok(self.buffer.len() - before));
            }
        }
        written
    }

    /// Writes the buffer.
    fn poll_buffer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.buffer.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.buffer))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.buffer.advance(count),
            }
        }
        self.buffer = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    fn may_buffer(&self) -> bool {
        self.control.0.accepts_overflow.load(Ordering::Relaxed) && self.buffer.len() < MAX_BYTES
    }
}

impl AsyncRead for OverflowTransport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.control.0.accepts_overflow.store(false, Ordering::Relaxed);
        self.control
            .0
            .read_pending
            .store(read.is_pending(), Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for OverflowTransport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.write(cx, &[IoSlice::new(buf)], |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, bufs, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match self.poll_buffer(cx)? {
            Poll::Ready(()) => Pin::new(&mut self.stream).poll_flush(cx),
            Poll::Pending => Poll::Pending,
        };
        if flushed.is_pending() {
            self.control.0.write_blocked.store(true, Ordering::Relaxed);
            if self.may_buffer() {
                return Poll::Ready(Ok(()));
            }
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_buffer(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    /// A connection whose transport accepts no byte, and the peer's end.
    async fn blocked() -> (OverflowTransport, OverflowControl, DuplexStream) {
        let (ours, theirs) = duplex(4);
        let (mut stream, control) = OverflowTransport::new(Box::new(ours));
        stream.write_all(b"held").await.unwrap();
        (stream, control, theirs)
    }

    fn poll_read(stream: &mut OverflowTransport, cx: &mut Context<'_>) -> Poll<u8> {
        let mut byte = [0];
        let mut buf = ReadBuf::new(&mut byte);
        match Pin::new(stream).poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) if buf.filled().len() == 1 => Poll::Ready(byte[0]),
            Poll::Ready(other) => panic!("{other:?}"),
            Poll::Pending => Poll::Pending,
        }
    }

    #[tokio::test]
    async fn a_blocked_write_is_buffered_until_the_next_read_and_stays_in_order() {
        let (mut stream, control, mut theirs) = blocked().await;
        theirs.write_all(b"x").await.unwrap();
        let mut answered = false;
        let read = poll_fn(|cx| {
            control.poll(|| {
                if !answered {
                    let both = [IoSlice::new(b"ans"), IoSlice::new(b"wer")];
                    let count = ready!(Pin::new(&mut stream).poll_write_vectored(cx, &both)).unwrap();
                    assert_eq!(count, 6, "the answer is accepted as a whole");
                    ready!(Pin::new(&mut stream).poll_flush(cx)).unwrap();
                    answered = true;
                }
                poll_read(&mut stream, cx)
            })
        });
        assert_eq!(read.await, b'x');
        poll_fn(|cx| {
            let more = Pin::new(&mut stream).poll_write(cx, b"!");
            assert!(more.is_pending(), "overflow ends with the next read");
            Poll::Ready(())
        })
        .await;
        let reading = tokio::spawn(async move {
            let mut received = Vec::new();
            theirs.read_to_end(&mut received).await.unwrap();
            received
        });
        stream.write_all(b" and more").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(reading.await.unwrap(), b"heldanswer and more");
    }

    #[tokio::test]
    async fn a_blocked_write_waits_when_nothing_is_left_to_read() {
        let (mut stream, control, _theirs) = blocked().await;
        let mut polls = 0;
        poll_fn(|cx| {
            let polled: Poll<()> = control.poll(|| {
                polls += 1;
                assert!(poll_read(&mut stream, cx).is_pending());
                assert!(Pin::new(&mut stream).poll_write(cx, b"!").is_pending());
                Poll::Pending
            });
            assert!(polled.is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(polls, 1);
    }

    #[tokio::test]
    async fn the_buffer_is_bounded_when_nothing_is_read() {
        let (mut stream, control, mut theirs) = blocked().await;
        let frame = vec![0; FRAME_BYTES as usize];
        for polls in 1.. {
            let taken = poll_fn(|cx| {
                let write = || Pin::new(&mut stream).poll_write(cx, &frame).map(Result::unwrap);
                Poll::Ready(control.poll(write))
            });
            if taken.await.is_pending() {
                assert_eq!(polls, MAX_BYTES / frame.len() + 1);
                break;
            }
        }
        drop(stream);
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"held");
    }
}
