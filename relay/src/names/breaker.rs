//! A circuit breaker for each of this machine's name servers.
//!
//! ```text
//!             silent                        cooldown over
//!   closed ───────────▶  open  ─────────────────────────▶ half-open
//!      ▲                  ▲                                   │ │
//!      │                  └─ silent or failed, cooldown × 2 ──┘ │
//!      └─────────────────────── answered ───────────────────────┘
//! ```
//!
//! Half-open, the server is asked one question, its trial; for all others the breaker counts as open. A question fails
//! if the server is unreachable (`EHOSTUNREACH`). The kernel often takes seconds to find that out, so during a cooldown
//! a failure counts like silence. It does not open a closed breaker, since only silence costs programs time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The first cooldown, for which a silent server is not asked; it doubles with each failed trial, up to
/// [`MAX_COOLDOWN`].
const FIRST_COOLDOWN: Duration = Duration::from_secs(5);

/// The longest cooldown.
const MAX_COOLDOWN: Duration = Duration::from_secs(60);

/// A question that fails sooner than this does not delay a program.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The breakers of all name servers; that of an unknown server is closed.
#[derive(Debug, Default)]
pub(super) struct Breakers {
    open: HashMap<IpAddr, Cooldown>,
    /// When each server answered last.
    answered: HashMap<IpAddr, Instant>,
    /// Servers that were reported to the user as silent.
    reported: Vec<IpAddr>,
}

#[derive(Debug)]
struct Cooldown {
    /// When the cooldown or the last trial began.
    since: Instant,
    length: Duration,
    /// Whether the server does not answer; otherwise questions to it fail at once, which costs no time.
    is_silent: bool,
}

impl Breakers {
    /// Whether libc, which asks the server regardless of its breaker, would wait for it in vain.
    pub(super) fn is_silent(&self, server: IpAddr) -> bool {
        self.open.get(&server).is_some_and(|cooldown| cooldown.is_silent)
    }

    /// Whether the server's breaker is open or half-open.
    pub(super) fn is_open(&self, server: IpAddr) -> bool {
        self.open.contains_key(&server)
    }

    /// Whether a question may be sent to the server. After the cooldown one question may, the trial.
    pub(super) fn may_ask(&mut self, server: IpAddr, now: Instant) -> bool {
        match self.open.get_mut(&server) {
            None => true,
            Some(cooldown) if now.duration_since(cooldown.since) >= cooldown.length => {
                cooldown.since = now;
                true
            }
            Some(_) => false,
        }
    }

    /// Records an answer, however late: closes the breaker.
    pub(super) fn answered(&mut self, server: IpAddr, now: Instant) {
        self.answered.insert(server, now);
        self.open.remove(&server);
    }

    /// Records that a question of that time got no answer. It is attributed to the name if the server answered another
    /// question since.
    pub(super) fn was_silent(&mut self, server: IpAddr, asked: Instant, now: Instant) {
        if self
            .answered
            .get(&server)
            .is_some_and(|answered| *answered >= asked)
        {
            return;
        }
        match self.open.get_mut(&server) {
            // of concurrent questions the first one counts
            Some(cooldown) if asked < cooldown.since => {}
            Some(cooldown) => {
                cooldown.since = now;
                cooldown.length = MAX_COOLDOWN.min(cooldown.length * 2);
                cooldown.is_silent = true;
            }
            None => {
                let cooldown = Cooldown {
                    since: now,
                    length: FIRST_COOLDOWN,
                    is_silent: true,
                };
                self.open.insert(server, cooldown);
            }
        }
    }

    /// Records that a question of that time failed, at once or after a while, because the server is unreachable.
    pub(super) fn failed(&mut self, server: IpAddr, asked: Instant, now: Instant) {
        if self.is_open(server) {
            self.was_silent(server, asked, now);
        }
        if let Some(cooldown) = self.open.get_mut(&server) {
            cooldown.is_silent &= now.duration_since(asked) >= AT_ONCE;
        }
    }

    /// Whether the server's silence is to be reported to the user, which is done once in a session.
    pub(super) fn is_first_report(&mut self, server: IpAddr) -> bool {
        let is_first = !self.reported.contains(&server);
        if is_first {
            self.reported.push(server);
        }
        is_first
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
        for cooldown in [5, 10, 20, 40, 60, 60] {
            let cooldown = cooldown * SECOND;
            assert!(
                !breakers.may_ask(server(1), now + cooldown - SECOND / 10),
                "{cooldown:?}"
            );
            now += cooldown;
            assert!(breakers.may_ask(server(1), now), "{cooldown:?}");
            assert!(!breakers.may_ask(server(1), now), "one question is the trial");
            breakers.was_silent(server(1), now, now + SECOND);
            now += SECOND;
        }
        assert!(
            breakers.may_ask(server(2), now),
            "each server has its own breaker"
        );
    }

    #[test]
    fn one_answer_closes_the_breaker() {
        let (mut breakers, now) = (Breakers::default(), Instant::now());
        breakers.was_silent(server(1), now, now + SECOND);
        breakers.was_silent(server(1), now + 6 * SECOND, now + 7 * SECOND);
        breakers.answered(server(1), now + 7 * SECOND);
        assert!(!breakers.is_open(server(1)) && breakers.may_ask(server(1), now + 7 * SECOND));
        breakers.was_silent(server(1), now + 8 * SECOND, now + 9 * SECOND);
        assert!(
            breakers.may_ask(server(1), now + 14 * SECOND),
            "the first cooldown again"
        );
    }

    #[test]
    fn unreachable_server_on_trial_doubles_the_cooldown() {
        let (mut breakers, now) = (Breakers::default(), Instant::now());
        breakers.was_silent(server(1), now, now + SECOND);
        // the question whose silence began the cooldown, and which the kernel fails later
        breakers.failed(server(1), now, now + 3 * SECOND);
        assert!(breakers.is_open(server(1)) && breakers.is_silent(server(1)));
        let trial = now + 6 * SECOND;
        assert!(breakers.may_ask(server(1), trial));
        breakers.failed(server(1), trial, trial);
        assert!(!breakers.may_ask(server(1), trial + 9 * SECOND));
        assert!(breakers.may_ask(server(1), trial + 10 * SECOND));
        // libc's question fails at once
        assert!(breakers.is_open(server(1)) && !breakers.is_silent(server(1)));
        breakers.was_silent(server(1), trial + 10 * SECOND, trial + 11 * SECOND);
        assert!(breakers.is_silent(server(1)));
    }

    #[test]
    fn question_that_fails_at_once_does_not_open_the_breaker() {
        let (mut breakers, now) = (Breakers::default(), Instant::now());
        breakers.failed(server(1), now, now);
        assert!(!breakers.is_open(server(1)) && breakers.may_ask(server(1), now));
    }

    #[test]
    fn server_that_answered_another_question_meanwhile_is_not_silent() {
        let (mut breakers, now) = (Breakers::default(), Instant::now());
        breakers.answered(server(1), now + SECOND / 2);
        breakers.answered(server(2), now + SECOND / 2);
        breakers.was_silent(server(1), now, now + SECOND);
        assert!(!breakers.is_open(server(1)));
        breakers.was_silent(server(1), now + SECOND, now + 2 * SECOND);
        assert!(breakers.is_open(server(1)) && !breakers.is_open(server(2)));
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
        assert!(breakers.is_first_report(server(1)) && breakers.is_first_report(server(2)));
        breakers.was_silent(server(1), now, now + SECOND);
        breakers.answered(server(1), now + 2 * SECOND);
        assert!(!breakers.is_first_report(server(1)));
    }
}
