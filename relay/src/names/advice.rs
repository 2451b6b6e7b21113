//! What the user is told of names that were not looked up, or not believed, on this machine.
//!
//! A program sees that a name does not exist. The user, who may know it, is told why, and what would look it up all the
//! same: a rule.

use crate::log;
use kinject_protocol::session::{Event, Report};
use std::collections::HashSet;
use std::net::IpAddr;
use tokio::sync::mpsc;

/// Of how many names a user is told in a session; a program that makes names up must not flood the terminal.
const MOST: usize = 8;

/// Why a name has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// The cluster does not have it, and it is too short to be shown to this machine's name servers.
    ShortName,
    /// The cluster does not have it, and it lies under a domain of the pod's search list.
    SearchedDomain,
    /// This machine's name servers lead to an address of the cluster's.
    LeadsToCluster(IpAddr),
    /// The cluster's name servers lead to this machine's loopback.
    LeadsHere(IpAddr),
}

impl Withheld {
    /// What is said of a name.
    pub(crate) fn report(self, name: &str) -> Report {
        // the program chose it, and the hint is there to be typed
        let word = kinject_escape::word(name);
        let (message, hint) = match self {
            Self::ShortName => (
                format!("the cluster has no name {name}, and short names are not looked up on this machine"),
                format!("add --local {word} to look it up here"),
            ),
            Self::SearchedDomain => (
                format!(
                    "the cluster has no name {name}, and names under its domains are not looked up on this machine"
                ),
                format!("add --local {word} to look it up here"),
            ),
            Self::LeadsToCluster(address) => (
                format!(
                    "{name} does not exist in the cluster, and here it has {address}, an address of the cluster's"
                ),
                format!("add --local {word} to reach it on this machine's network"),
            ),
            Self::LeadsHere(address) => (
                format!(
                    "the cluster's name servers say that {name} has {address}, which would be this machine"
                ),
                format!("add --remote {word} to believe them"),
            ),
        };
        Report {
            message,
            hint: Some(hint),
        }
    }
}

/// Tells the user, of each name once.
pub(crate) struct Advice {
    told: parking_lot::Mutex<HashSet<String>>,
    events: mpsc::Sender<Event>,
}

impl Advice {
    pub(crate) fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            told: parking_lot::Mutex::default(),
            events,
        }
    }

    /// Tells of a name, unless the user knows.
    pub(crate) fn tell(&self, name: &str, why: Withheld) {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let report = why.report(&name);
        {
            let mut told = self.told.lock();
            if told.len() >= MOST || !told.insert(name) {
                return log::debug!("{}", report.message);
            }
        }
        // a launcher that reads slowly, or is gone, misses a hint and nothing else
        let _missed = self.events.try_send(Event::Notice(report)).is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_reported_once_up_to_the_limit() {
        let (events, mut heard) = mpsc::channel(100);
        let advice = Advice::new(events);
        for _ in 0..3 {
            advice.tell("nas", Withheld::ShortName);
            advice.tell("NAS.", Withheld::ShortName);
        }
        for index in 0..100 {
            advice.tell(&format!("random{index}"), Withheld::ShortName);
        }
        drop(advice);
        let mut reports = Vec::new();
        while let Ok(Event::Notice(report)) = heard.try_recv() {
            reports.push(report);
        }
        assert_eq!(reports.len(), MOST);
        assert_eq!(
            reports[0].message,
            "the cluster has no name nas, and short names are not looked up on this machine"
        );
        assert_eq!(
            reports[0].hint.as_deref(),
            Some("add --local nas to look it up here")
        );
        let hostile = Withheld::ShortName.report("nas;reboot");
        assert_eq!(
            hostile.hint.as_deref(),
            Some("add --local 'nas;reboot' to look it up here")
        );
    }
}
