//! Staying awake for an answer that comes within microseconds.
//!
//! A processor that has nothing to do sleeps, and to wake it takes the one who does and the one who sleeps 15 to 30 µs
//! each on a virtual machine. Where the cluster runs on the developer's own machine that is most of a round trip.
//! So after a few bytes have gone out the relay looks for their answer for a moment before it sleeps, and after a few
//! came in for what the program says to them. Where the one or the other takes longer, as answers do from every cluster
//! that is somewhere else, it gives up looking after a few attempts and tries again now and then. Large transfers need
//! none of it.
//!
//! Between two looks it gives way to whoever else wants its processor: that may be the very process it waits for. Without
//! that a program waited up to 45 µs for the relay that had just answered it.

use std::task::Context;
use std::thread;
use std::time::{Duration, Instant};

use super::departures::Departures;
use super::traffic::Traffic;
use crate::coop::yield_to_reactor;

/// How long to stay awake after the last bytes: a round trip through the API server of a cluster on the same machine
/// takes 200 to 300 µs, and one through port-forward 350 to 500.
const AWAKE: Duration = Duration::from_micros(800);
/// More bytes than this at once are a transfer.
const SMALL: u64 = 4096;
/// After so many vain attempts in a row it is not worth it here.
const VAIN: u32 = 4;
/// Then one attempt in so many shows whether that is still true.
const PROBE: u32 = 128;

/// Watches over one connection's traffic, and over those that wait meanwhile to leave.
pub(super) struct Vigil {
    traffic: Traffic,
    seen: (u64, u64),
    state: State,
    departures: Departures,
}

impl Vigil {
    pub(super) fn new(traffic: Traffic, departures: Departures) -> Self {
        let seen = traffic.now();
        Self {
            traffic,
            seen,
            state: State::default(),
            departures,
        }
    }

    /// To be called last in each poll of the connection: has the task woken again at once while it is worth it, after
    /// the operating system was asked for news.
    pub(super) fn keep(&mut self, cx: &mut Context<'_>) {
        let now = self.traffic.now();
        let (heard, sent) = (now.0 - self.seen.0, now.1 - self.seen.1);
        self.seen = now;
        let stays_awake = self.state.stays_awake(heard, sent, Instant::now);
        if stays_awake {
            if heard + sent == 0 {
                thread::yield_now();
            }
            yield_to_reactor(cx);
        }
        self.departures.serve(stays_awake);
    }
}

/// Whether to stay awake.
#[derive(Default)]
struct State {
    awake: Option<(Waiting, Instant)>,
    attempts: [Attempts; 2],
}

/// What comes next, if it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// Bytes went out: their answer.
    ForAnswer,
    /// Bytes came in: what the program does with them.
    ForProgram,
}

/// How it went with one of them so far.
#[derive(Default)]
struct Attempts {
    /// Vain ones in a row.
    vain: u32,
    /// Occasions that were passed by since.
    passed: u32,
}

impl State {
    /// Learns how many bytes came in and went out since the last time.
    fn stays_awake(&mut self, heard: u64, sent: u64, now: impl FnOnce() -> Instant) -> bool {
        if heard + sent > SMALL {
            self.awake = None;
            return false;
        }
        if heard + sent == 0 {
            let Some((waiting, until)) = self.awake else {
                return false;
            };
            let stays = now() < until;
            if !stays {
                self.awake = None;
                self.attempts(waiting).vain += 1;
            }
            return stays;
        }
        if let Some((waiting, _)) = self.awake {
            self.attempts(waiting).vain = 0;
        }
        let waiting = match sent {
            0 => Waiting::ForProgram,
            _ => Waiting::ForAnswer,
        };
        self.awake = match self.attempts(waiting).are_worth_it() {
            true => Some((waiting, now() + AWAKE)),
            false => None,
        };
        self.awake.is_some()
    }

    fn attempts(&mut self, waiting: Waiting) -> &mut Attempts {
        &mut self.attempts[waiting as usize]
    }
}

impl Attempts {
    fn are_worth_it(&mut self) -> bool {
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
        let woke = state.stays_awake(0, 1, || start);
        if woke {
            assert!(state.stays_awake(0, 0, || start));
            assert!(!state.stays_awake(0, 0, || start + AWAKE));
        }
        woke
    }

    #[test]
    fn it_stays_awake_for_as_long_as_answers_come_soon() {
        let (mut state, start) = (State::default(), Instant::now());
        assert!(!state.stays_awake(0, 0, || start));
        for round in 0..100 {
            let now = start + round * AWAKE / 2;
            assert!(state.stays_awake(u64::from(round % 2), u64::from((round + 1) % 2), || now));
            assert!(state.stays_awake(0, 0, || now));
        }
    }

    #[test]
    fn it_gives_up_where_nothing_comes_and_tries_again_now_and_then() {
        let (mut state, start) = (State::default(), Instant::now());
        let attempts =
            |state: &mut State, occasions: u32| (0..occasions).filter(|_| in_vain(state, start)).count();
        assert_eq!(attempts(&mut state, VAIN), VAIN as usize);
        assert_eq!(attempts(&mut state, 10 * PROBE), 10);
        while !state.stays_awake(0, 1, || start) {}
        assert!(state.stays_awake(1, 0, || start), "an answer came");
        assert!(!state.stays_awake(0, 0, || start + AWAKE));
        assert!(state.stays_awake(0, 1, || start), "it is worth it again");
    }

    #[test]
    fn a_program_that_takes_its_time_is_not_waited_for_though_its_answers_come_soon() {
        let (mut state, start) = (State::default(), Instant::now());
        let waits = (0..100).filter(|_| {
            assert!(state.stays_awake(0, 1, || start), "for the answer");
            let waits = state.stays_awake(1, 0, || start);
            assert!(!state.stays_awake(0, 0, || start + AWAKE));
            waits
        });
        assert_eq!(waits.count(), VAIN as usize);
    }

    #[test]
    fn a_transfer_needs_no_vigil() {
        let (mut state, start) = (State::default(), Instant::now());
        assert!(state.stays_awake(SMALL, 0, || start));
        assert!(!state.stays_awake(SMALL, 1, || start));
        assert!(!state.stays_awake(0, 0, || start));
    }
}
