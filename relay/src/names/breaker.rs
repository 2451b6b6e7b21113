//! Which of this machine's name servers are asked: a circuit breaker for each.
//!
//! ```text
//!              silent                              time
//!   answering ───────▶ resting ─────────────────────────▶ on trial
//!       ▲                 ▲                                  │ │
//!       │                 └─ silent or failed, rests longer ─┘ │
//!       └────────────────────── answered ──────────────────────┘
//! ```
//!
//! A server on trial is asked one question; everybody else goes on as if it rested. A question fails where there is no way to the
//! server (`EHOSTUNREACH`): often the kernel takes seconds to find out, so that it says nothing for a rest, and is none for one that
//! answered so far, since silence alone costs time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// For how long a server that was silent is not asked again; it doubles with each trial, up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_secs(5);

/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// What fails sooner keeps nobody waiting.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What is known of name servers. Those that are not known answer, as far as anybody knows.
#[derive(Debug, Default)]
pub(super) struct Breakers {
    resting: HashMap<IpAddr, Rest>,
    /// When each server answered last.
    answered: HashMap<IpAddr, Instant>,
    /// Servers of which the user was told.
    told: Vec<IpAddr>,
}

#[derive(Debug)]
struct Rest {
    /// When it began, or the last trial did.
    since: Instant,
    length: Duration,
    /// Whether it said nothing, as far as is known: what fails at once costs nobody time.
    is_silent: bool,
}

impl Breakers {
    /// Whether whoever asks the server, as libc does, may wait for it in vain.
    pub(super) fn is_silent(&self, server: IpAddr) -> bool {
        self.resting.get(&server).is_some_and(|rest| rest.is_silent)
    }

    /// Whether it rests.
    pub(super) fn rests(&self, server: IpAddr) -> bool {
        self.resting.contains_key(&server)
    }

    /// Whether this question may go to the server. A server whose rest is over takes one, its trial.
    pub(super) fn may_ask(&mut self, server: IpAddr, now: Instant) -> bool {
        match self.resting.get_mut(&server) {
            None => true,
            Some(rest) if now.duration_since(rest.since) >= rest.length => {
                rest.since = now;
                true
            }
            Some(_) => false,
        }
    }

    /// It answered, however late.
    pub(super) fn answered(&mut self, server: IpAddr, now: Instant) {
        self.answered.insert(server, now);
        self.resting.remove(&server);
    }

    /// A question that it was asked at that time got no answer, which is the name's fault if another one did since.
    pub(super) fn was_silent(&mut self, server: IpAddr, asked: Instant, now: Instant) {
        if self
            .answered
            .get(&server)
            .is_some_and(|answered| *answered >= asked)
        {
            return;
        }
        match self.resting.get_mut(&server) {
            // of many questions at once the first one tells
            Some(rest) if asked < rest.since => {}
            Some(rest) => {
                rest.since = now;
                rest.length = LONGEST_REST.min(rest.length * 2);
                rest.is_silent = true;
            }
            None => {
                let rest = Rest {
                    since: now,
                    length: FIRST_REST,
                    is_silent: true,
                };
                self.resting.insert(server, rest);
            }
        }
    }

    /// A question that it was asked at that time did not get to it, as the kernel says at once or after a while.
    pub(super) fn failed(&mut self, server: IpAddr, asked: Instant, now: Instant) {
        if self.rests(server) {
            self.was_silent(server, asked, now);
        }
        if let Some(rest) = self.resting.get_mut(&server) {
            rest.is_silent &= now.duration_since(asked) >= AT_ONCE;
        }
    }

    /// Whether the user has yet to hear that the server is silent, which he does once in a session.
    pub(super) fn is_news(&mut self, server: IpAddr) -> bool {
        let is_news = !self.told.contains(&server);
        if is_news {
            self.told.push(server);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn server(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn silent_server_opens_its_breaker_and_failed_trials_double_the_cooldown() {
        let (mut breakers, mut now) = (Breakers::default(), Instant::now());
        assert!(breakers.may_ask(server(1), now));
        breakers.was_silent(server(1), now, now + SECOND);
        now += SECOND;
        for rest in [5, 10, 20, 40, 60, 60] {
            let rest = rest * SECOND;
            assert!(!breakers.may_ask(server(1), now + rest - SECOND / 10), "{rest:?}");
            now += rest;
            assert!(breakers.may_ask(server(1), now), "{rest:?}");
            assert!(!breakers.may_ask(server(1), now), "one question is the trial");
            breakers.was_silent(server(1), now, now + SECOND);
            now += SECOND;
        }
        assert!(breakers.may_ask(server(2), now), "each server has its own");
    }

    #[test]
    fn one_answer_closes_the_breaker() {
        let (mut breakers, now) = (Breakers::default(), Instant::now());
        breakers.was_silent(server(1), now, now + SECOND);
        breakers.was_silent(server(1), now + 6 * SECOND, now + 7 * SECOND);
        breakers.answered(server(1), now + 7 * SECOND);
        assert!(!breakers.rests(server(1)) && breakers.may_ask(server(1), now + 7 * SECOND));
        breakers.was_silent(server(1), now + 8 * SECOND, now + 9 * SECOND);
        assert!(
            breakers.may_ask(server(1), now + 14 * SECOND),
            "from the beginning"
        );
    }

    #[test]
    fn unreachable_server_on_trial_doubles_the_cooldown() {
        let (mut breakers, now) = (Breakers::default(), Instant::now());
        breakers.was_silent(server(1), now, now + SECOND);
        // the question whose silence began the rest, and which the kernel gives up later
        breakers.failed(server(1), now, now + 3 * SECOND);
        assert!(breakers.rests(server(1)) && breakers.is_silent(server(1)));
        let trial = now + 6 * SECOND;
        assert!(breakers.may_ask(server(1), trial));
        breakers.failed(server(1), trial, trial);
        assert!(!breakers.may_ask(server(1), trial + 9 * SECOND));
        assert!(breakers.may_ask(server(1), trial + 10 * SECOND));
        // who asks it, as libc does, is told at once
        assert!(breakers.rests(server(1)) && !breakers.is_silent(server(1)));
        breakers.was_silent(server(1), trial + 10 * SECOND, trial + 11 * SECOND);
        assert!(breakers.is_silent(server(1)));
    }

    #[test]
    fn question_that_fails_at_once_does_not_open_the_breaker() {
        let (mut breakers, now) = (Breakers::default(), Instant::now());
        breakers.failed(server(1), now, now);
        assert!(!breakers.rests(server(1)) && breakers.may_ask(server(1), now));
    }

    #[test]
    fn server_that_answered_another_question_meanwhile_is_not_silent() {
        let (mut breakers, now) = (Breakers::default(), Instant::now());
        breakers.answered(server(1), now + SECOND / 2);
        breakers.answered(server(2), now + SECOND / 2);
        breakers.was_silent(server(1), now, now + SECOND);
        assert!(!breakers.rests(server(1)));
        breakers.was_silent(server(1), now + SECOND, now + 2 * SECOND);
        assert!(breakers.rests(server(1)) && !breakers.rests(server(2)));
    }

    #[test]
    fn concurrent_unanswered_questions_open_the_breaker_once() {
        let (mut breakers, now) = (Breakers::default(), Instant::now());
        for late in 0..50 {
            breakers.was_silent(server(1), now, now + SECOND + late * SECOND / 100);
        }
        assert!(breakers.may_ask(server(1), now + 7 * SECOND));
    }

    #[test]
    fn each_silent_server_is_reported_once() {
        let (mut breakers, now) = (Breakers::default(), Instant::now());
        assert!(breakers.is_news(server(1)) && breakers.is_news(server(2)));
        breakers.was_silent(server(1), now, now + SECOND);
        breakers.answered(server(1), now + 2 * SECOND);
        assert!(!breakers.is_news(server(1)));
    }
}
