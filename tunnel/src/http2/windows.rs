//! How much a stream may have on its way: little by default, more while readers keep up.
//!
//! A stream's window bounds what a reader that stalls can make this end keep, and with it how fast a reader that does not
//! stall can be served: no faster than a window for each round trip. So the window of all streams is raised while much
//! arrives and little of it waits, and lowered when too much waits:
//!
//! ```text
//!                 much has arrived, little waits
//!        narrow ──────────────────────────────────▶ wide
//!               ◀──────────────────────────────────
//!                        too much waits
//! ```
//!
//! What waits is counted for all connections of a tunnel together. Lowered, a window may be negative for streams that
//! have more waiting than it allows (RFC 9113, 6.9.2): their writers wait until it has been read. So at this end wait no more
//! than [`TOO_MUCH`], what was on its way when the other end heard of it, and a narrow window for each stalled reader.
//!
//! h2 gives a window back when bytes are read, and not before half of what is left can be given. So of a wide window the
//! other end may know no more than two thirds while nothing waits, and nothing would tell it about the rest if those were
//! taken away: it would wait for this end, and this end for it. Hence the wide window is less than three narrow ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::traffic::Traffic;

/// What a stream may have on its way to begin with.
pub(crate) const NARROW: u32 = 6 * 1024 * 1024;
/// The same while readers keep up: through an API server on the same machine, 4 MiB carried 240 MB/s upwards, 10 MiB 330
/// and 16 MiB 470; twice as much, no more.
const WIDE: u32 = 16 * 1024 * 1024;
// See above: what the other end holds of a wide window never is less than what it loses.
const _: () = assert!(WIDE / 3 * 2 > WIDE - NARROW);
/// So much within [`PERIOD`] is much.
const MUCH: u64 = 8 * 1024 * 1024;
/// The time in which much has to arrive.
const PERIOD: Duration = Duration::from_secs(1);
/// Windows are raised while no more than this waits. One or two readers that stall are no reason to hold others back.
const LITTLE: usize = 12 * 1024 * 1024;
/// Windows are lowered when more than this waits.
const TOO_MUCH: usize = 32 * 1024 * 1024;

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

/// Widens and narrows the windows of one tunnel's end.
pub(super) struct Windows {
    waiting: Waiting,
    traffic: Traffic,
    state: State,
}

impl Windows {
    pub(super) fn new(traffic: Traffic) -> Self {
        Self {
            waiting: Waiting::default(),
            traffic,
            state: State::default(),
        }
    }

    pub(super) fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// To be called before each poll of the connection. `set` asks the other end, and says whether it could be asked: there is
    /// one question at a time.
    pub(super) fn adapt(&mut self, set: impl FnOnce(u32) -> bool) {
        let (heard, _) = self.traffic.now();
        let Some(wide) = self.state.next(heard, self.waiting.now(), Instant::now) else {
            return;
        };
        if set(if wide { WIDE } else { NARROW }) {
            self.state.wide = wide;
        }
    }
}

#[derive(Default)]
struct State {
    wide: bool,
    /// When the period began, and what had been heard by then.
    began: Option<Instant>,
    heard: u64,
}

impl State {
    /// Whether the windows should be wide, if they should not stay as they are.
    fn next(&mut self, heard: u64, waiting: usize, now: impl FnOnce() -> Instant) -> Option<bool> {
        if self.wide {
            return (waiting > TOO_MUCH).then_some(false);
        }
        // Most connections never see the clock.
        if heard - self.heard < MUCH {
            return None;
        }
        let now = now();
        let much = self.began.is_some_and(|began| now - began <= PERIOD);
        (self.began, self.heard) = (Some(now), heard);
        (much && waiting <= LITTLE).then_some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So much is heard, this often, in these intervals.
    fn hears(state: &mut State, times: u64, interval: Duration, waiting: usize) -> Option<bool> {
        let start = state.began.unwrap_or_else(Instant::now);
        (1..=times)
            .map(|time| {
                let now = start + interval * time as u32;
                state.next(state.heard + MUCH, waiting, || now)
            })
            .last()
            .flatten()
    }

    #[test]
    fn windows_are_raised_where_much_arrives_and_is_taken() {
        let mut state = State::default();
        assert_eq!(
            state.next(MUCH - 1, 0, || panic!("nobody asks for the time")),
            None
        );
        assert_eq!(hears(&mut state, 2, PERIOD / 2, 0), Some(true));
    }

    #[test]
    fn windows_stay_where_little_arrives_or_much_of_it_waits() {
        assert_eq!(hears(&mut State::default(), 10, PERIOD * 2, 0), None);
        assert_eq!(hears(&mut State::default(), 10, PERIOD / 10, LITTLE + 1), None);
    }

    #[test]
    fn windows_are_lowered_when_too_much_waits_and_raised_when_it_has_been_taken() {
        let mut state = State {
            wide: true,
            ..State::default()
        };
        assert_eq!(state.next(0, TOO_MUCH, Instant::now), None);
        assert_eq!(state.next(0, TOO_MUCH + 1, Instant::now), Some(false));
        state.wide = false;
        assert_eq!(hears(&mut state, 10, PERIOD / 10, TOO_MUCH), None);
        assert_eq!(hears(&mut state, 2, PERIOD / 10, LITTLE), Some(true));
    }

    #[test]
    fn what_waits_is_the_sum_of_all_shares() {
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
