//! Reading goes on when writing does not.
//!
//! h2 answers PING and SETTINGS before it reads on, and as long as the transport does not take what stands before the
//! answer it reads nothing. If both ends have something to answer while both send as much as the transport holds, each
//! waits for the other to read, for ever:
//!
//! ```text
//!          full, and nobody reads                    its own SETTINGS, or an answer to a PING,
//!    relay ══════════════════════▶ agent             stand behind a DATA frame that is half written
//!          ◀══════════════════════
//! ```
//!
//! So a poll in which h2 was refused a write and has not read all there is is repeated, and until it reads what it writes is
//! taken into memory: the rest of one DATA frame, as a rule.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::FRAME_BYTES;
use crate::transport::Stream;

/// With this much in memory nothing more is taken: the other end asks for answers and takes none.
const MOST_BYTES: usize = 8 * FRAME_BYTES as usize;

/// A transport that takes what it cannot write while it has to be read.
pub(super) struct Relieved {
    stream: Stream,
    /// Taken, but not written yet.
    spilled: BytesMut,
    relief: Relief,
}

/// The connection's side of it.
#[derive(Clone, Default)]
pub(super) struct Relief(Arc<Flags>);

#[derive(Default)]
struct Flags {
    /// There is nothing more to read for now.
    has_read: AtomicBool,
    /// A write, or that it arrives, has to be waited for.
    refused: AtomicBool,
    /// Writes are taken into memory until the next read.
    relieved: AtomicBool,
}

impl Relief {
    /// Whether the transport has taken everything that was to be written in the last poll.
    pub(super) fn has_written(&self) -> bool {
        !self.0.refused.load(Ordering::Relaxed)
    }

    /// Polls the connection that has the transport, until it has read what there is.
    pub(super) fn poll<T>(&self, mut connection: impl FnMut() -> Poll<T>) -> Poll<T> {
        let Flags {
            has_read,
            refused,
            relieved,
        } = &*self.0;
        loop {
            has_read.store(false, Ordering::Relaxed);
            refused.store(false, Ordering::Relaxed);
            let polled = connection();
            // A relief that brought no read brings none the next time.
            let in_vain = relieved.swap(false, Ordering::Relaxed);
            let is_stuck = refused.load(Ordering::Relaxed) && !has_read.load(Ordering::Relaxed);
            if polled.is_ready() || in_vain || !is_stuck {
                return polled;
            }
            relieved.store(true, Ordering::Relaxed);
        }
    }
}

impl Relieved {
    pub(super) fn new(stream: Stream) -> (Self, Relief) {
        let relief = Relief::default();
        (
            Self {
                stream,
                spilled: BytesMut::new(),
                relief: relief.clone(),
            },
            relief,
        )
    }

    /// Writes with `write` what comes after what was taken, or takes that, too.
    fn write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        write: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let written = match self.poll_spilled(cx)? {
            Poll::Ready(()) => write(Pin::new(&mut self.stream), cx),
            Poll::Pending => Poll::Pending,
        };
        if written.is_pending() {
            self.relief.0.refused.store(true, Ordering::Relaxed);
            if self.may_take() {
                let before = self.spilled.len();
                bufs.iter().for_each(|buf| self.spilled.extend_from_slice(buf));
                return Poll::Ready(Ok(self.spilled.len() - before));
            }
        }
        written
    }

    /// Writes what was taken.
    fn poll_spilled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.spilled.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.spilled.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.spilled))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.spilled.advance(count),
            }
        }
        self.spilled = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    fn may_take(&self) -> bool {
        self.relief.0.relieved.load(Ordering::Relaxed) && self.spilled.len() < MOST_BYTES
    }
}

impl AsyncRead for Relieved {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.relief.0.relieved.store(false, Ordering::Relaxed);
        self.relief.0.has_read.store(read.is_pending(), Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Relieved {
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
        let flushed = match self.poll_spilled(cx)? {
            Poll::Ready(()) => Pin::new(&mut self.stream).poll_flush(cx),
            Poll::Pending => Poll::Pending,
        };
        if flushed.is_pending() {
            self.relief.0.refused.store(true, Ordering::Relaxed);
            if self.may_take() {
                return Poll::Ready(Ok(()));
            }
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_spilled(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    /// A connection whose transport takes no byte, and the other end of it.
    async fn blocked() -> (Relieved, Relief, DuplexStream) {
        let (ours, theirs) = duplex(4);
        let (mut stream, relief) = Relieved::new(Box::new(ours));
        stream.write_all(b"held").await.unwrap();
        (stream, relief, theirs)
    }

    fn poll_read(stream: &mut Relieved, cx: &mut Context<'_>) -> Poll<u8> {
        let mut byte = [0];
        let mut buf = ReadBuf::new(&mut byte);
        match Pin::new(stream).poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) if buf.filled().len() == 1 => Poll::Ready(byte[0]),
            Poll::Ready(other) => panic!("{other:?}"),
            Poll::Pending => Poll::Pending,
        }
    }

    #[tokio::test]
    async fn who_cannot_write_reads_and_what_it_had_to_say_comes_in_order() {
        let (mut stream, relief, mut theirs) = blocked().await;
        theirs.write_all(b"x").await.unwrap();
        let mut said = false;
        let read = poll_fn(|cx| {
            relief.poll(|| {
                if !said {
                    let both = [IoSlice::new(b"ans"), IoSlice::new(b"wer")];
                    let count = ready!(Pin::new(&mut stream).poll_write_vectored(cx, &both)).unwrap();
                    assert_eq!(count, 6, "it is taken whole");
                    ready!(Pin::new(&mut stream).poll_flush(cx)).unwrap();
                    said = true;
                }
                poll_read(&mut stream, cx)
            })
        });
        assert_eq!(read.await, b'x');
        poll_fn(|cx| {
            let more = Pin::new(&mut stream).poll_write(cx, b"!");
            assert!(more.is_pending(), "only until the next read");
            Poll::Ready(())
        })
        .await;
        let hears = tokio::spawn(async move {
            let mut heard = Vec::new();
            theirs.read_to_end(&mut heard).await.unwrap();
            heard
        });
        stream.write_all(b" and more").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(hears.await.unwrap(), b"heldanswer and more");
    }

    #[tokio::test]
    async fn who_has_read_everything_waits_to_write() {
        let (mut stream, relief, _theirs) = blocked().await;
        let mut polls = 0;
        poll_fn(|cx| {
            let polled: Poll<()> = relief.poll(|| {
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
    async fn who_never_reads_is_not_relieved_for_ever() {
        let (mut stream, relief, mut theirs) = blocked().await;
        let frame = vec![0; FRAME_BYTES as usize];
        for polls in 1.. {
            let taken = poll_fn(|cx| {
                let write = || Pin::new(&mut stream).poll_write(cx, &frame).map(Result::unwrap);
                Poll::Ready(relief.poll(write))
            });
            if taken.await.is_pending() {
                assert_eq!(polls, MOST_BYTES / frame.len() + 1);
                break;
            }
        }
        drop(stream);
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"held");
    }
}
