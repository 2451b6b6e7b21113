//! Adaptive busy polling: the relay's HTTP/2 task polls for a moment before it sleeps.
//!
//! An idle processor sleeps, and on a virtual machine a wake-up costs the one who wakes and the one who is woken 15 to 30 µs
//! each. Where the cluster runs on the developer's own machine that is most of a round trip. So after the relay has sent a
//! few bytes it polls for their answer before it sleeps, and after it has received a few it polls for what the program
//! says to them. Where answers take longer, as from any cluster elsewhere, it stops after [`MAX_MISSES`] attempts in
//! a row and then tries one of [`PROBE_INTERVAL`] occasions. Bulk transfers do not poll.
//!
//! For round trips and connects. Without it, by turns on an idle machine: a 1-byte round trip takes 1.75 × as long by pod
//! proxy, 1.9 × by port-forward, 1.6 × over TCP and 1.5 × over a Unix socket, and a program makes 0.71, 0.88, 0.74 and
//! 0.70 × as many connections with an echo in a second. It costs processor time: a program that exchanges bytes without a
//! pause keeps the relay at 85 % of a processor instead of 20 to 40 %.
//!
//! Between two polls it calls `sched_yield(2)`, since the process that it waits for may need its processor: without that a
//! program waited up to 45 µs for the relay that had just answered it.

use std::task::Context;
use std::thread;
use std::time::{Duration, Instant};

use super::close_coalescer::CloseCoalescer;
use super::traffic::Traffic;
use crate::coop::yield_to_reactor;

/// How long to poll after the last bytes: a round trip through the API server of a cluster on the same machine takes
/// 200 to 300 µs, and one through port-forward 350 to 500.
const POLL_TIME: Duration = Duration::from_micros(800);
/// More bytes than this at once are a bulk transfer.
const MAX_SMALL_BYTES: u64 = 4096;
/// After so many misses in a row polling is not worth it.
const MAX_MISSES: u32 = 4;
/// Then one attempt in so many occasions shows whether that is still true.
const PROBE_INTERVAL: u32 = 128;

/// Decides for one connection whether its task polls on or sleeps.
pub(super) struct BusyPoll {
    traffic: Traffic,
    seen: (u64, u64),
    state: State,
    coalescer: CloseCoalescer,
}

impl BusyPoll {
    pub(super) fn new(traffic: Traffic, coalescer: CloseCoalescer) -> Self {
        let seen = traffic.now();
        Self {
            traffic,
            seen,
            state: State::default(),
            coalescer,
        }
    }

    /// To be called last in each poll of the connection. Where polling is worth it, schedules the task again at once, behind
    /// a poll of the operating system for events.
    pub(super) fn after_poll(&mut self, cx: &mut Context<'_>) {
        let now = self.traffic.now();
        let (received, sent) = (now.0 - self.seen.0, now.1 - self.seen.1);
        self.seen = now;
        let polls_on = self.state.polls_on(received, sent, Instant::now);
        if polls_on {
            if received + sent == 0 {
                thread::yield_now();
            }
            yield_to_reactor(cx);
        }
        self.coalescer.after_poll(polls_on);
    }
}

/// Whether to poll, and how it went before.
#[derive(Default)]
struct State {
    polling: Option<(Expected, Instant)>,
    history: [History; 2],
}

/// What comes next, if it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// Bytes went out: their answer.
    Answer,
    /// Bytes came in: what the program says next.
    Request,
}

/// How polling for one of them went.
#[derive(Default)]
struct History {
    /// Misses in a row.
    misses: u32,
    /// Occasions that were skipped since.
    skipped: u32,
}

impl State {
    /// Learns how many bytes came in and went out since the last time.
    fn polls_on(&mut self, received: u64, sent: u64, now: impl FnOnce() -> Instant) -> bool {
        if received + sent > MAX_SMALL_BYTES {
            self.polling = None;
            return false;
        }
        if received + sent == 0 {
            let Some((expected, until)) = self.polling else {
                return false;
            };
            let goes_on = now() < until;
            if !goes_on {
                self.polling = None;
                self.history(expected).misses += 1;
            }
            return goes_on;
        }
        if let Some((expected, _)) = self.polling {
            self.history(expected).misses = 0;
        }
        let expected = match sent {
            0 => Expected::Request,
            _ => Expected::Answer,
        };
        self.polling = match self.history(expected).is_worth_it() {
            true => Some((expected, now() + POLL_TIME)),
            false => None,
        };
        self.polling.is_some()
    }

    fn history(&mut self, expected: Expected) -> &mut History {
        &mut self.history[expected as usize]
    }
}

impl History {
    fn is_worth_it(&mut self) -> bool {
        if self.misses < MAX_MISSES {
            return true;
        }
        self.skipped = (self.skipped + 1) % PROBE_INTERVAL;
        self.skipped == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One occasion after which nothing more comes; whether it was polled for.
    fn misses(state: &mut State, start: Instant) -> bool {
        let polled = state.polls_on(0, 1, || start);
        if polled {
            assert!(state.polls_on(0, 0, || start));
            assert!(!state.polls_on(0, 0, || start + POLL_TIME));
        }
        polled
    }

    #[test]
    fn polling_continues_while_answers_come_soon() {
        let (mut state, start) = (State::default(), Instant::now());
        assert!(!state.polls_on(0, 0, || start));
        for round in 0..100 {
            let now = start + round * POLL_TIME / 2;
            assert!(state.polls_on(u64::from(round % 2), u64::from((round + 1) % 2), || now));
            assert!(state.polls_on(0, 0, || now));
        }
    }

    #[test]
    fn polling_stops_after_misses_and_probes_at_intervals() {
        let (mut state, start) = (State::default(), Instant::now());
        let attempts =
            |state: &mut State, occasions: u32| (0..occasions).filter(|_| misses(state, start)).count();
        assert_eq!(attempts(&mut state, MAX_MISSES), MAX_MISSES as usize);
        assert_eq!(attempts(&mut state, 10 * PROBE_INTERVAL), 10);
        while !state.polls_on(0, 1, || start) {}
        assert!(state.polls_on(1, 0, || start), "an answer came");
        assert!(!state.polls_on(0, 0, || start + POLL_TIME));
        assert!(state.polls_on(0, 1, || start), "it is worth it again");
    }

    #[test]
    fn misses_of_requests_do_not_stop_polling_for_answers() {
        let (mut state, start) = (State::default(), Instant::now());
        let waits = (0..100).filter(|_| {
            assert!(state.polls_on(0, 1, || start), "for the answer");
            let waits = state.polls_on(1, 0, || start);
            assert!(!state.polls_on(0, 0, || start + POLL_TIME));
            waits
        });
        assert_eq!(waits.count(), MAX_MISSES as usize);
    }

    #[test]
    fn bulk_transfer_does_not_poll() {
        let (mut state, start) = (State::default(), Instant::now());
        assert!(state.polls_on(MAX_SMALL_BYTES, 0, || start));
        assert!(!state.polls_on(MAX_SMALL_BYTES, 1, || start));
        assert!(!state.polls_on(0, 0, || start));
    }
}
