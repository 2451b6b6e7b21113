//! Staying awake for an answer that comes within microseconds.
//!
//! A processor that has nothing to do sleeps, and to wake it takes the one who does and the one who sleeps 15 to 30 µs
//! each on a virtual machine. Where the cluster runs on the developer's own machine that is most of a round trip.
//! So after a few bytes have gone out or come in the relay looks for more for a moment before it sleeps. Where answers
//! take longer, which is every cluster that is somewhere else, it gives up looking after a few attempts and tries again
//! now and then. Large transfers need none of it.

use std::task::Context;
use std::time::{Duration, Instant};

use super::traffic::Traffic;
use crate::turn::rest;

/// How long to stay awake after the last bytes.
const AWAKE: Duration = Duration::from_micros(100);
/// More bytes than this at once are a transfer.
const SMALL: u64 = 4096;
/// After so many vain attempts in a row it is not worth it here.
const VAIN: u32 = 4;
/// Then one attempt in so many shows whether that is still true.
const PROBE: u32 = 128;

/// Watches over one connection's traffic.
pub(super) struct Vigil {
    traffic: Traffic,
    seen: (u64, u64),
    state: State,
}

impl Vigil {
    pub(super) fn new(traffic: Traffic) -> Self {
        let seen = traffic.now();
        Self {
            traffic,
            seen,
            state: State::default(),
        }
    }

    /// To be called last in each poll of the connection: has the task woken again at once while it is worth it, after
    /// the operating system was asked for news.
    pub(super) fn keep(&mut self, cx: &mut Context<'_>) {
        let now = self.traffic.now();
        let moved = (now.0 - self.seen.0) + (now.1 - self.seen.1);
        self.seen = now;
        if self.state.stays_awake(moved, Instant::now) {
            rest(cx);
        }
    }
}

/// Whether to stay awake.
#[derive(Default)]
struct State {
    until: Option<Instant>,
    /// Vain attempts in a row.
    vain: u32,
    /// Occasions that were passed by since.
    passed: u32,
}

impl State {
    /// Learns that so many bytes moved since the last time.
    fn stays_awake(&mut self, moved: u64, now: impl FnOnce() -> Instant) -> bool {
        if moved > SMALL {
            self.until = None;
            return false;
        }
        match (self.until, moved) {
            (None, 0) => false,
            (None, _) if !self.is_worth_it() => false,
            (Some(until), 0) => {
                let stays = now() < until;
                if !stays {
                    self.until = None;
                    self.vain = self.vain.saturating_add(1);
                }
                stays
            }
            (awake, _) => {
                if awake.is_some() {
                    self.vain = 0;
                }
                self.until = Some(now() + AWAKE);
                true
            }
        }
    }

    fn is_worth_it(&mut self) -> bool {
        if self.vain < VAIN {
            return true;
        }
        self.passed = (self.passed + 1) % PROBE;
        self.passed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One occasion after which nothing more comes.
    fn in_vain(state: &mut State, start: Instant) -> bool {
        let woke = state.stays_awake(1, || start);
        if woke {
            assert!(state.stays_awake(0, || start));
            assert!(!state.stays_awake(0, || start + AWAKE));
        }
        woke
    }

    #[test]
    fn it_stays_awake_for_as_long_as_answers_come_soon() {
        let (mut state, start) = (State::default(), Instant::now());
        assert!(!state.stays_awake(0, || start));
        for round in 0..100 {
            let now = start + round * AWAKE / 2;
            assert!(state.stays_awake(1, || now));
            assert!(state.stays_awake(0, || now));
        }
    }

    #[test]
    fn it_gives_up_where_nothing_comes_and_tries_again_now_and_then() {
        let (mut state, start) = (State::default(), Instant::now());
        let attempts =
            |state: &mut State, occasions: u32| (0..occasions).filter(|_| in_vain(state, start)).count();
        assert_eq!(attempts(&mut state, VAIN), VAIN as usize);
        assert_eq!(attempts(&mut state, 10 * PROBE), 10);
        while !state.stays_awake(1, || start) {}
        assert!(state.stays_awake(1, || start), "an answer came");
        assert!(!state.stays_awake(0, || start + AWAKE));
        assert!(state.stays_awake(1, || start), "it is worth it again");
    }

    #[test]
    fn a_transfer_needs_no_vigil() {
        let (mut state, start) = (State::default(), Instant::now());
        assert!(state.stays_awake(SMALL, || start));
        assert!(!state.stays_awake(SMALL + 1, || start));
        assert!(!state.stays_awake(0, || start));
    }
}
