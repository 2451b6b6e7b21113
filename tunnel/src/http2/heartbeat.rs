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
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep_until};

use super::traffic::Traffic;
use super::{HEARTBEAT, SILENCE};

/// Watches one connection.
pub(super) struct Heartbeat {
    ping_pong: Option<PingPong>,
    /// The next look: a PING is due, or the other end is given up.
    look: Pin<Box<Sleep>>,
    next_ping: Instant,
    traffic: Traffic,
    heard_before: u64,
    last_heard: Instant,
    waiting_for_pong: bool,
}

impl Heartbeat {
    pub(super) fn new(ping_pong: Option<PingPong>, traffic: Traffic) -> Self {
        let now = Instant::now();
        Heartbeat {
            ping_pong,
            look: Box::pin(sleep_until(now)),
            next_ping: now,
            traffic,
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
                (self.heard_before, _) = self.traffic.now();
                self.last_heard = Instant::now();
            }
            ready!(self.look.as_mut().poll(cx));
            let now = Instant::now();
            let (heard, _) = self.traffic.now();
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
