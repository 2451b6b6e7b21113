//! Detects a dead peer: sends a PING every ten seconds and watches the bytes that arrive.
//!
//! A PING tests the peer and keeps proxies from closing an idle connection. Both ends send PINGs, so there is traffic
//! in both directions. Any received byte counts as a sign of life, since on a slow connection the answer to a PING may
//! be queued behind megabytes of data.
//!
//! The tunnel is closed when nothing was received for [`SILENCE`]. On an idle tunnel the only bytes are the answers to
//! PINGs, so it is closed exactly that long after the last answer. On a busy one the clock is read with the next PING
//! and not for each byte, so closing may take up to one [`HEARTBEAT`] longer.

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
    /// The next check: a PING is due, or the peer has timed out.
    timer: Pin<Box<Sleep>>,
    next_ping: Instant,
    traffic: Traffic,
    received_before: u64,
    last_received: Instant,
    waiting_for_pong: bool,
}

impl Heartbeat {
    pub(super) fn new(ping_pong: Option<PingPong>, traffic: Traffic) -> Self {
        let now = Instant::now();
        Heartbeat {
            ping_pong,
            timer: Box::pin(sleep_until(now)),
            next_ping: now,
            traffic,
            received_before: 0,
            last_received: now,
            waiting_for_pong: false,
        }
    }

    /// Ready when the peer has timed out. The caller reads what has arrived before it calls this.
    pub(super) fn poll_silent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(ping_pong) = &mut self.ping_pong else {
            return Poll::Pending;
        };
        loop {
            if self.waiting_for_pong && ping_pong.poll_pong(cx).is_ready() {
                self.waiting_for_pong = false;
                (self.received_before, _) = self.traffic.now();
                self.last_received = Instant::now();
            }
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            let (received, _) = self.traffic.now();
            // A process that was stopped for a while has to read what the peer has sent before it decides.
            let stopped = now - self.timer.deadline() >= HEARTBEAT;
            if received != self.received_before || stopped {
                self.received_before = received;
                self.last_received = now;
            }
            let end = self.last_received + SILENCE;
            if now >= end {
                return Poll::Ready(());
            }
            if now >= self.next_ping {
                self.next_ping = now + HEARTBEAT;
                if !self.waiting_for_pong && ping_pong.send_ping(Ping::opaque()).is_ok() {
                    self.waiting_for_pong = true;
                }
            }
            self.timer.as_mut().reset(end.min(self.next_ping));
        }
    }
}
