//! What the user is told of connections of a forward that fail: a line for each cause, and not for each connection.

use super::peer::Verdict;
use crate::log;
use kinject_protocol::session::{Event, Report};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The shortest time between two lines about failures of one forward.
const PAUSE: Duration = Duration::from_secs(10);

/// The most users that are named: every user of the machine can connect, any number of times.
const MAX_USERS: usize = 16;

/// The failures of one listener.
pub(super) struct Failures {
    /// Both ends, for messages.
    name: String,
    events: mpsc::Sender<Event>,
    told: RefCell<Told>,
}

#[derive(Default)]
struct Told {
    /// The last failure, until something succeeds.
    last: Option<String>,
    at: Option<Instant>,
    users: BTreeSet<Option<u32>>,
}

impl Failures {
    /// None yet.
    pub(super) fn new(name: String, events: mpsc::Sender<Event>) -> Self {
        Self {
            name,
            events,
            told: RefCell::default(),
        }
    }

    /// A connection or datagram has reached its target: the next failure is told, even if it is the same.
    pub(super) fn succeeded(&self) {
        self.told.borrow_mut().last = None;
    }

    /// A connection or datagram has not reached its target.
    pub(super) fn failed(&self, why: &impl Display) {
        let why = why.to_string();
        log::debug!("{}: {why}", self.name);
        let mut told = self.told.borrow_mut();
        let is_soon = told.at.is_some_and(|at| at.elapsed() < PAUSE);
        if is_soon || told.last.as_ref() == Some(&why) {
            return;
        }
        told.at = Some(Instant::now());
        self.tell(format!("{}: {why}", self.name), None);
        told.last = Some(why);
    }

    /// A peer was refused, because it is not this user.
    pub(super) fn refused(&self, verdict: Verdict) {
        let user = match verdict {
            Verdict::OtherUser(user) => Some(user),
            _ => None,
        };
        let mut told = self.told.borrow_mut();
        if told.users.len() >= MAX_USERS || !told.users.insert(user) {
            return;
        }
        match user {
            Some(user) => self.tell(
                format!(
                    "{}: a process of user {user} was refused: forwards serve the user alone that started them",
                    self.name
                ),
                Some(format!("start kinject as user {user} for its programs")),
            ),
            None => self.tell(
                format!(
                    "{}: a program was refused that had closed its socket before it could be told whose it was",
                    self.name
                ),
                Some("have it wait for an answer before it closes".to_owned()),
            ),
        }
    }

    fn tell(&self, message: String, hint: Option<String>) {
        let message = kinject_escape::line(message);
        // connections do not wait for a launcher that reads slowly
        let _unread = self
            .events
            .try_send(Event::Notice(Report { message, hint }))
            .is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(received: &mut mpsc::Receiver<Event>) -> Vec<String> {
        let events = std::iter::from_fn(|| received.try_recv().ok());
        let lines = events.map(|event| match event {
            Event::Notice(report) => report.message,
            other => panic!("{other:?}"),
        });
        lines.collect()
    }

    #[tokio::test(start_paused = true)]
    async fn same_failure_is_told_once_until_a_connection_succeeds_and_never_twice_in_ten_seconds() {
        let (events, mut received) = mpsc::channel(64);
        let failures = Failures::new("a -> b".into(), events);
        for _ in 0..100 {
            failures.failed(&"connection refused");
        }
        assert_eq!(told(&mut received), ["a -> b: connection refused"]);
        failures.succeeded();
        failures.failed(&"connection refused");
        assert_eq!(told(&mut received), [""; 0], "it is too soon");
        tokio::time::advance(PAUSE).await;
        failures.failed(&"connection refused");
        assert_eq!(told(&mut received), ["a -> b: connection refused"]);
        tokio::time::advance(PAUSE).await;
        failures.failed(&"connection refused");
        assert_eq!(told(&mut received), [""; 0], "nothing has succeeded since");
        failures.failed(&"timed out");
        assert_eq!(told(&mut received), ["a -> b: timed out"]);
    }

    #[tokio::test]
    async fn refused_user_is_told_once_and_many_users_are_not_all_told() {
        let (events, mut received) = mpsc::channel(64);
        let failures = Failures::new("a -> b".into(), events);
        for user in (0..40).chain(0..40) {
            failures.refused(Verdict::OtherUser(user));
        }
        let lines = told(&mut received);
        assert_eq!(lines.len(), MAX_USERS);
        assert_eq!(
            lines[0],
            "a -> b: a process of user 0 was refused: forwards serve the user alone that started them"
        );
    }
}
