//! Reports the users whose calls were refused, each once.
//!
//! Such a user is usually the one that a program of the session has become. Neither that program nor what it starts can
//! say by itself why it does not reach the cluster: what it starts may not even have the library, if that user cannot
//! open the file.

use kinject_protocol::session::{Event, Report};
use std::cell::RefCell;
use std::collections::BTreeSet;
use tokio::sync::mpsc;

/// The most users that are reported: every user of the machine can call, any number of times.
const MAX_USERS: usize = 16;

/// The users that were reported.
pub(super) struct Refusals {
    reported: RefCell<BTreeSet<u32>>,
    events: mpsc::Sender<Event>,
}

impl Refusals {
    /// Reports go to the launcher by these events.
    pub(super) fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            reported: RefCell::default(),
            events,
        }
    }

    /// Reports a user whose call was refused.
    pub(super) fn report(&self, user: u32) {
        let mut reported = self.reported.borrow_mut();
        if reported.len() >= MAX_USERS || !reported.insert(user) {
            return;
        }
        let report = Report {
            message: format!(
                "a process of user {user} was refused: a session serves the user alone that started it"
            ),
            hint: Some(format!(
                "if it is a program of this session, start kinject as user {user}"
            )),
        };
        // calls of the session's own user do not wait for a launcher that reads slowly
        let _unreported = self.events.try_send(Event::Notice(report)).is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_is_reported_once_and_many_users_are_not_all_reported() {
        let (events, mut received) = mpsc::channel(100);
        let refusals = Refusals::new(events);
        for user in (0..40).chain(0..40) {
            refusals.report(user);
        }
        let Ok(Event::Notice(report)) = received.try_recv() else {
            panic!("nothing was reported");
        };
        assert!(
            report.message.starts_with("a process of user 0 was refused: "),
            "{report:?}"
        );
        drop(refusals);
        let mut others = 0;
        while received.try_recv().is_ok() {
            others += 1;
        }
        assert_eq!(others, MAX_USERS - 1);
    }
}
