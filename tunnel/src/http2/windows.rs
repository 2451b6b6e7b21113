//! Adapts the window of streams: 6 MiB by default, more while readers keep up, less while they do not.
//!
//! A stream's window bounds the bytes that this end buffers for a stalled reader. It also bounds the throughput of a
//! reader that keeps up: one window for each round trip. HTTP/2 has one initial window for all streams, so it is set by
//! the bytes that wait at this end for the sockets of all connections of a tunnel together:
//!
//! ```text
//!        16 MiB   much arrives, and little of it is unread
//!         6 MiB   otherwise
//!         1 MiB   more than  96 MiB unread
//!       128 KiB   more than 192 MiB
//!        16 KiB   more than 288 MiB
//! ```
//!
//! Hundreds of readers have to stall before a window is smaller than their sockets' buffers, and ten thousand before
//! the connection's own window is used up, which would block all streams. A window is raised again when no more than
//! half of its bound is unread.
//!
//! A lowered window may be negative for streams with more unread bytes than it allows (RFC 9113, 6.9.2): their writers
//! wait until those are read. So the unread bytes are at most the bound, plus the bytes in flight until the peer
//! acknowledges the SETTINGS, plus a smaller window for each further stalled reader. Streams without unread bytes get a
//! WINDOW_UPDATE after the acknowledgement ([`super::receivers`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::receivers::Receivers;
use super::traffic::Traffic;

/// A stream's initial window.
pub(crate) const DEFAULT_WINDOW: u32 = 6 * 1024 * 1024;
/// The window while readers keep up. Through an API server on the same machine, 4 MiB carried 240 MB/s upwards, 10 MiB
/// 330 and 16 MiB 470; 32 MiB carried no more.
const RAISED_WINDOW: u32 = 16 * 1024 * 1024;
/// Windows are raised when so many bytes arrive within [`RAISE_PERIOD`].
const RAISE_BYTES: u64 = 8 * 1024 * 1024;
/// The time within which [`RAISE_BYTES`] have to arrive.
const RAISE_PERIOD: Duration = Duration::from_secs(1);
/// Windows are raised only while no more than this is unread. One or two stalled readers do not prevent it.
const FEW_UNREAD: usize = 12 * MIB;
/// Raised windows are lowered to the initial one when more than this is unread.
const MANY_UNREAD: usize = 32 * MIB;
/// Unread bytes, the largest first, and the window while there are more than these.
const LOWERED_WINDOWS: [(usize, u32); 3] = [
    (288 * MIB, 16 * 1024),
    (192 * MIB, 128 * 1024),
    (96 * MIB, 1024 * 1024),
];
const MIB: usize = 1024 * 1024;

/// Bytes that one tunnel's connections have received and not yet written to their sockets.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnreadBytes(Arc<AtomicUsize>);

/// One connection's share of these bytes.
#[derive(Debug)]
pub(crate) struct UnreadShare {
    all: UnreadBytes,
    own: usize,
}

impl UnreadBytes {
    /// The share of a new connection, which has no unread bytes.
    pub(crate) fn share(&self) -> UnreadShare {
        UnreadShare {
            all: self.clone(),
            own: 0,
        }
    }

    fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl UnreadShare {
    /// Sets the connection's number of unread bytes.
    pub(crate) fn set(&mut self, bytes: usize) {
        match bytes.checked_sub(self.own) {
            Some(0) => {}
            Some(more) => {
                self.all.0.fetch_add(more, Ordering::Relaxed);
            }
            None => {
                self.all.0.fetch_sub(self.own - bytes, Ordering::Relaxed);
            }
        }
        self.own = bytes;
    }
}

impl Drop for UnreadShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Raises and lowers the windows of one tunnel's end.
pub(super) struct Windows {
    unread: UnreadBytes,
    receivers: Receivers,
    traffic: Traffic,
    state: State,
    /// Windows were lowered, and the peer has not acknowledged the SETTINGS yet.
    awaits_ack: bool,
}

impl Windows {
    pub(super) fn new(traffic: Traffic) -> Self {
        Self {
            unread: UnreadBytes::default(),
            receivers: Receivers::default(),
            traffic,
            state: State::default(),
            awaits_ack: false,
        }
    }

    pub(super) fn unread(&self) -> &UnreadBytes {
        &self.unread
    }

    pub(super) fn receivers(&self) -> &Receivers {
        &self.receivers
    }

    /// To be called before each poll of the connection. `set` sends the SETTINGS, and returns whether it could: only
    /// one SETTINGS frame may be unacknowledged at a time.
    pub(super) fn adapt(&mut self, set: impl FnOnce(u32) -> bool) {
        if self.awaits_ack {
            return;
        }
        let (received, _) = self.traffic.now();
        let Some(window) = self.state.next(received, self.unread.now(), Instant::now) else {
            return;
        };
        if set(window) {
            self.awaits_ack = window < self.state.window;
            self.state.window = window;
        }
    }

    /// To be called after each poll of the connection; returns whether it has to be polled again. If `set` can send the
    /// same window again, the peer has acknowledged the SETTINGS and streams have their lowered windows.
    pub(super) fn is_acknowledged(&mut self, set: impl FnOnce(u32) -> bool) -> bool {
        if !self.awaits_ack || !set(self.state.window) {
            return false;
        }
        self.awaits_ack = false;
        self.receivers.update_windows();
        true
    }
}

struct State {
    /// The window that streams have.
    window: u32,
    /// When the period began, and the bytes that had been received by then.
    began: Option<Instant>,
    received: u64,
}

impl Default for State {
    fn default() -> Self {
        State {
            window: DEFAULT_WINDOW,
            began: None,
            received: 0,
        }
    }
}

impl State {
    /// The window that streams should have, if they should not keep theirs.
    fn next(&mut self, received: u64, unread: usize, now: impl FnOnce() -> Instant) -> Option<u32> {
        let most = max_window(unread);
        if self.window > most {
            return Some(most);
        }
        if self.window < DEFAULT_WINDOW {
            let most = max_window(2 * unread).min(DEFAULT_WINDOW);
            return (self.window < most).then_some(most);
        }
        // Most connections never read the clock.
        if self.window == RAISED_WINDOW || received - self.received < RAISE_BYTES {
            return None;
        }
        let now = now();
        let much = self.began.is_some_and(|began| now - began <= RAISE_PERIOD);
        (self.began, self.received) = (Some(now), received);
        (much && unread <= FEW_UNREAD).then_some(RAISED_WINDOW)
    }
}

/// The largest window while so many bytes are unread.
fn max_window(unread: usize) -> u32 {
    match LOWERED_WINDOWS.iter().find(|(more_than, _)| unread > *more_than) {
        Some((_, window)) => *window,
        None if unread > MANY_UNREAD => DEFAULT_WINDOW,
        None => RAISED_WINDOW,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Receives [`RAISE_BYTES`] so many times, at this interval.
    fn receive_repeatedly(state: &mut State, times: u64, interval: Duration, unread: usize) -> Option<u32> {
        let start = state.began.unwrap_or_else(Instant::now);
        (1..=times)
            .map(|time| {
                let now = start + interval * time as u32;
                state.next(state.received + RAISE_BYTES, unread, || now)
            })
            .last()
            .flatten()
    }

    fn no_clock() -> Instant {
        panic!("the clock is not read")
    }

    #[test]
    fn windows_are_raised_when_much_arrives_and_is_read() {
        let mut state = State::default();
        assert_eq!(state.next(RAISE_BYTES - 1, 0, no_clock), None);
        assert_eq!(
            receive_repeatedly(&mut state, 2, RAISE_PERIOD / 2, 0),
            Some(RAISED_WINDOW)
        );
    }

    #[test]
    fn windows_stay_when_little_arrives_or_much_is_unread() {
        assert_eq!(
            receive_repeatedly(&mut State::default(), 10, RAISE_PERIOD * 2, 0),
            None
        );
        assert_eq!(
            receive_repeatedly(&mut State::default(), 10, RAISE_PERIOD / 10, FEW_UNREAD + 1),
            None
        );
    }

    #[test]
    fn windows_are_lowered_when_too_much_is_unread_and_raised_after_it_is_read() {
        let mut state = State {
            window: RAISED_WINDOW,
            ..State::default()
        };
        assert_eq!(state.next(0, MANY_UNREAD, no_clock), None);
        assert_eq!(state.next(0, MANY_UNREAD + 1, no_clock), Some(DEFAULT_WINDOW));
        state.window = DEFAULT_WINDOW;
        assert_eq!(
            receive_repeatedly(&mut state, 10, RAISE_PERIOD / 10, MANY_UNREAD),
            None
        );
        assert_eq!(
            receive_repeatedly(&mut state, 2, RAISE_PERIOD / 10, FEW_UNREAD),
            Some(RAISED_WINDOW)
        );
    }

    #[test]
    fn windows_shrink_with_unread_bytes_and_grow_at_half_of_the_bound() {
        let mut state = State::default();
        for (unread, expected) in [
            (96 * MIB, None),
            (96 * MIB + 1, Some(1024 * 1024)),
            (49 * MIB, None),
            (500 * MIB, Some(16 * 1024)),
            (150 * MIB, None),
            (140 * MIB, Some(128 * 1024)),
            (90 * MIB, Some(1024 * 1024)),
            (48 * MIB, Some(DEFAULT_WINDOW)),
            (48 * MIB, None),
        ] {
            let next = state.next(0, unread, no_clock);
            assert_eq!(next, expected, "{unread} bytes");
            state.window = next.unwrap_or(state.window);
        }
    }

    #[test]
    fn lowered_windows_are_acknowledged_before_they_change_again() {
        let mut windows = Windows::new(Traffic::default());
        let mut share = windows.unread().share();
        share.set(200 * MIB);
        windows.adapt(|window| window == 128 * 1024);
        share.set(0);
        windows.adapt(|_| panic!("SETTINGS sent before the acknowledgement"));
        assert!(!windows.is_acknowledged(|_| false));
        assert!(windows.is_acknowledged(|window| window == 128 * 1024));
        assert!(!windows.is_acknowledged(|_| panic!("acknowledged already")));
        let mut sent = None;
        windows.adapt(|window| {
            sent = Some(window);
            true
        });
        assert_eq!(sent, Some(DEFAULT_WINDOW));
        assert!(!windows.is_acknowledged(|_| panic!("raised windows need no acknowledgement")));
    }

    #[test]
    fn unread_bytes_are_the_sum_of_all_shares() {
        let unread = UnreadBytes::default();
        let (mut one, mut other) = (unread.share(), unread.share());
        one.set(10);
        other.set(5);
        one.set(3);
        assert_eq!(unread.now(), 8);
        drop(one);
        assert_eq!(unread.now(), 5);
        drop(other);
        assert_eq!(unread.now(), 0);
    }
}
