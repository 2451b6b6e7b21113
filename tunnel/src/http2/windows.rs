//! How much a stream may have on its way: little by default, more while readers keep up, less where they do not.
//!
//! A stream's window bounds what a reader that stalls can make this end keep, and with it how fast a reader that does not
//! stall can be served: no faster than a window for each round trip. HTTP/2 knows one such window for all streams, so it
//! follows what waits at this end for all connections of a tunnel together:
//!
//! ```text
//!        16 MiB   much arrives, and little of it waits
//!         6 MiB   otherwise
//!         1 MiB   more than  96 MiB wait
//!       128 KiB   more than 192 MiB
//!        16 KiB   more than 288 MiB
//! ```
//!
//! Hundreds of readers have to stall before a window is smaller than what their sockets hold, and ten thousand before the
//! connection's own window, which holds back everybody, is used up. A window is raised again when no more than half of its
//! bound waits.
//!
//! Lowered, a window may be negative for streams that have more waiting than it allows (RFC 9113, 6.9.2): their writers
//! wait until it has been read. So at this end wait no more than a bound, what was on its way when the other end heard of it,
//! and a smaller window for each further reader that stalls. Streams of which nothing waits are told of their room when the
//! other end has taken note ([`super::receivers`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::receivers::Receivers;
use super::traffic::Traffic;

/// What a stream may have on its way to begin with.
pub(crate) const NARROW: u32 = 6 * 1024 * 1024;
/// The same while readers keep up: through an API server on the same machine, 4 MiB carried 240 MB/s upwards, 10 MiB 330
/// and 16 MiB 470; twice as much, no more.
const WIDE: u32 = 16 * 1024 * 1024;
/// So much within [`PERIOD`] is much.
const MUCH: u64 = 8 * 1024 * 1024;
/// The time in which much has to arrive.
const PERIOD: Duration = Duration::from_secs(1);
/// Windows are wide while no more than this waits. One or two readers that stall are no reason to hold others back.
const LITTLE: usize = 12 * MIB;
/// Windows are wide no longer when more than this waits.
const TOO_MUCH: usize = 32 * MIB;
/// The window where more than this waits, the largest first.
const TIGHT: [(usize, u32); 3] = [
    (288 * MIB, 16 * 1024),
    (192 * MIB, 128 * 1024),
    (96 * MIB, 1024 * 1024),
];
const MIB: usize = 1024 * 1024;

/// Bytes that wait for the sockets of one tunnel's connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting(Arc<AtomicUsize>);

/// The share that one connection has in them.
#[derive(Debug)]
pub(crate) struct Share {
    all: Waiting,
    own: usize,
}

impl Waiting {
    /// The share of a new connection: nothing waits for it.
    pub(crate) fn share(&self) -> Share {
        Share {
            all: self.clone(),
            own: 0,
        }
    }

    fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Share {
    /// So much waits for this connection from here on.
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

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Raises and lowers the windows of one tunnel's end.
pub(super) struct Windows {
    waiting: Waiting,
    receivers: Receivers,
    traffic: Traffic,
    state: State,
    /// Windows were lowered, and the other end has not said that it knows.
    is_unheard: bool,
}

impl Windows {
    pub(super) fn new(traffic: Traffic) -> Self {
        Self {
            waiting: Waiting::default(),
            receivers: Receivers::default(),
            traffic,
            state: State::default(),
            is_unheard: false,
        }
    }

    pub(super) fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    pub(super) fn receivers(&self) -> &Receivers {
        &self.receivers
    }

    /// To be called before each poll of the connection. `set` asks the other end, and says whether it could be asked: there is
    /// one question at a time.
    pub(super) fn adapt(&mut self, set: impl FnOnce(u32) -> bool) {
        if self.is_unheard {
            return;
        }
        let (heard, _) = self.traffic.now();
        let Some(window) = self.state.next(heard, self.waiting.now(), Instant::now) else {
            return;
        };
        if set(window) {
            self.is_unheard = window < self.state.window;
            self.state.window = window;
        }
    }

    /// To be called after each poll of the connection; says whether it is to be polled again. That the same can be asked once
    /// more tells that the other end has answered, and that streams have their lowered windows.
    pub(super) fn was_heard(&mut self, set: impl FnOnce(u32) -> bool) -> bool {
        if !self.is_unheard || !set(self.state.window) {
            return false;
        }
        self.is_unheard = false;
        self.receivers.tell_room();
        true
    }
}

struct State {
    /// The window that streams have.
    window: u32,
    /// When the period began, and what had been heard by then.
    began: Option<Instant>,
    heard: u64,
}

impl Default for State {
    fn default() -> Self {
        State {
            window: NARROW,
            began: None,
            heard: 0,
        }
    }
}

impl State {
    /// The window that streams should have, if they should not keep theirs.
    fn next(&mut self, heard: u64, waiting: usize, now: impl FnOnce() -> Instant) -> Option<u32> {
        let most = bound(waiting);
        if self.window > most {
            return Some(most);
        }
        if self.window < NARROW {
            let most = bound(2 * waiting).min(NARROW);
            return (self.window < most).then_some(most);
        }
        // Most connections never see the clock.
        if self.window == WIDE || heard - self.heard < MUCH {
            return None;
        }
        let now = now();
        let much = self.began.is_some_and(|began| now - began <= PERIOD);
        (self.began, self.heard) = (Some(now), heard);
        (much && waiting <= LITTLE).then_some(WIDE)
    }
}

/// The largest window while so much waits.
fn bound(waiting: usize) -> u32 {
    match TIGHT.iter().find(|(more_than, _)| waiting > *more_than) {
        Some((_, window)) => *window,
        None if waiting > TOO_MUCH => NARROW,
        None => WIDE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So much is heard, this often, in these intervals.
    fn hears(state: &mut State, times: u64, interval: Duration, waiting: usize) -> Option<u32> {
        let start = state.began.unwrap_or_else(Instant::now);
        (1..=times)
            .map(|time| {
                let now = start + interval * time as u32;
                state.next(state.heard + MUCH, waiting, || now)
            })
            .last()
            .flatten()
    }

    fn no_clock() -> Instant {
        panic!("nobody asks for the time")
    }

    #[test]
    fn windows_are_raised_when_much_arrives_and_is_read() {
        let mut state = State::default();
        assert_eq!(state.next(MUCH - 1, 0, no_clock), None);
        assert_eq!(hears(&mut state, 2, PERIOD / 2, 0), Some(WIDE));
    }

    #[test]
    fn windows_stay_when_little_arrives_or_much_is_unread() {
        assert_eq!(hears(&mut State::default(), 10, PERIOD * 2, 0), None);
        assert_eq!(hears(&mut State::default(), 10, PERIOD / 10, LITTLE + 1), None);
    }

    #[test]
    fn windows_are_lowered_when_too_much_is_unread_and_raised_after_it_is_read() {
        let mut state = State {
            window: WIDE,
            ..State::default()
        };
        assert_eq!(state.next(0, TOO_MUCH, no_clock), None);
        assert_eq!(state.next(0, TOO_MUCH + 1, no_clock), Some(NARROW));
        state.window = NARROW;
        assert_eq!(hears(&mut state, 10, PERIOD / 10, TOO_MUCH), None);
        assert_eq!(hears(&mut state, 2, PERIOD / 10, LITTLE), Some(WIDE));
    }

    #[test]
    fn windows_shrink_with_unread_bytes_and_grow_at_half_of_the_bound() {
        let mut state = State::default();
        for (waiting, expected) in [
            (96 * MIB, None),
            (96 * MIB + 1, Some(1024 * 1024)),
            (49 * MIB, None),
            (500 * MIB, Some(16 * 1024)),
            (150 * MIB, None),
            (140 * MIB, Some(128 * 1024)),
            (90 * MIB, Some(1024 * 1024)),
            (48 * MIB, Some(NARROW)),
            (48 * MIB, None),
        ] {
            let next = state.next(0, waiting, no_clock);
            assert_eq!(next, expected, "{waiting} bytes");
            state.window = next.unwrap_or(state.window);
        }
    }

    #[test]
    fn lowered_windows_are_acknowledged_before_they_change_again() {
        let mut windows = Windows::new(Traffic::default());
        let mut share = windows.waiting().share();
        share.set(200 * MIB);
        windows.adapt(|window| window == 128 * 1024);
        share.set(0);
        windows.adapt(|_| panic!("it is asked too soon"));
        assert!(!windows.was_heard(|_| false));
        assert!(windows.was_heard(|window| window == 128 * 1024));
        assert!(!windows.was_heard(|_| panic!("it is known")));
        let mut asked = None;
        windows.adapt(|window| {
            asked = Some(window);
            true
        });
        assert_eq!(asked, Some(NARROW));
        assert!(!windows.was_heard(|_| panic!("raised windows need no look")));
    }

    #[test]
    fn unread_bytes_are_the_sum_of_all_shares() {
        let waiting = Waiting::default();
        let (mut one, mut other) = (waiting.share(), waiting.share());
        one.set(10);
        other.set(5);
        one.set(3);
        assert_eq!(waiting.now(), 8);
        drop(one);
        assert_eq!(waiting.now(), 5);
        drop(other);
        assert_eq!(waiting.now(), 0);
    }
}
