//! Signs of life on a tunnel: a PING every ten seconds, and an eye on the bytes that come in.
//!
//! A PING both asks whether the other end lives and keeps proxies on the way from cutting an idle connection; both
//! ends send them, so there is traffic both ways. Any byte that arrives counts as life, since on a slow connection an
//! answer may stand behind megabytes of data.
//!
//! Who was not heard for [`SILENCE`] is given up. An idle tunnel hears nothing but the answers to its PINGs, so that it is
//! given up exactly that long after the last of them. Where there is more to hear, the clock is not looked at for each byte
//! but with the next PING: it may take a [`HEARTBEAT`] longer.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{HEARTBEAT, SILENCE};
use crate::transport::Stream;

/// A transport that counts what comes in.
pub(super) struct Metered {
    stream: Stream,
    heard: Heard,
}

/// Bytes heard from the other end.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<AtomicU64>);

/// Watches one connection.
pub(super) struct Heartbeat {
    ping_pong: Option<PingPong>,
    /// The next look: a PING is due, or the other end is given up.
    look: Pin<Box<Sleep>>,
    next_ping: Instant,
    heard: Heard,
    heard_before: u64,
    last_heard: Instant,
    waiting_for_pong: bool,
}

impl Metered {
    pub(super) fn new(stream: Stream) -> (Self, Heard) {
        let heard = Heard::default();
        (
            Metered {
                stream,
                heard: heard.clone(),
            },
            heard,
        )
    }
}

impl Heartbeat {
    pub(super) fn new(ping_pong: Option<PingPong>, heard: Heard) -> Self {
        let now = Instant::now();
        Heartbeat {
            ping_pong,
            look: Box::pin(sleep_until(now)),
            next_ping: now,
            heard,
            heard_before: 0,
            last_heard: now,
            waiting_for_pong: false,
        }
    }

    /// Ready when the other end is given up. What has arrived is to be read before.
    pub(super) fn poll_silent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(ping_pong) = &mut self.ping_pong else {
            return Poll::Pending;
        };
        loop {
            if self.waiting_for_pong && ping_pong.poll_pong(cx).is_ready() {
                self.waiting_for_pong = false;
                self.heard_before = self.heard.0.load(Ordering::Relaxed);
                self.last_heard = Instant::now();
            }
            ready!(self.look.as_mut().poll(cx));
            let now = Instant::now();
            let heard = self.heard.0.load(Ordering::Relaxed);
            // A process that was stopped for a while must be able to hear the other end before it judges.
            let stopped = now - self.look.deadline() >= HEARTBEAT;
            if heard != self.heard_before || stopped {
                self.heard_before = heard;
                self.last_heard = now;
            }
            let end = self.last_heard + SILENCE;
            if now >= end {
                return Poll::Ready(());
            }
            if now >= self.next_ping {
                self.next_ping = now + HEARTBEAT;
                if !self.waiting_for_pong && ping_pong.send_ping(Ping::opaque()).is_ok() {
                    self.waiting_for_pong = true;
                }
            }
            self.look.as_mut().reset(end.min(self.next_ping));
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let count = (buf.filled().len() - before) as u64;
        // Only the task that owns the connection writes it.
        let heard = &self.heard.0;
        heard.store(heard.load(Ordering::Relaxed) + count, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
