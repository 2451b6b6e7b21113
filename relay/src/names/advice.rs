//! Notices about names that were not looked up on this machine, or whose answers were refused.
//!
//! The program sees that a name does not exist. The notice tells the user, who may know the name, why, and which rule
//! would allow it.

use crate::log;
use kinject_protocol::session::{Event, Report};
use std::collections::HashSet;
use std::net::IpAddr;
use tokio::sync::mpsc;

/// Maximum number of notices in a session: a program that makes up names must not flood the terminal.
const MAX_NOTICES: usize = 8;

/// Why a name has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// The cluster does not have it, and it has one label, which this machine's name servers are not asked.
    ShortName,
    /// The cluster does not have it, and it is under a domain of the pod's search list.
    SearchedDomain,
    /// This machine's name servers return an address of the cluster's.
    ClusterAddress(IpAddr),
    /// The cluster's name servers return a loopback address, which would be this machine.
    LoopbackAddress(IpAddr),
}

impl Withheld {
    /// The notice about a name.
    pub(crate) fn report(self, name: &str) -> Report {
        // the program chose the name, and the user may type the hint
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
            Self::ClusterAddress(address) => (
                format!(
                    "{name} does not exist in the cluster, and here it has {address}, an address of the cluster's"
                ),
                format!("add --local {word} to reach it on this machine's network"),
            ),
            Self::LoopbackAddress(address) => (
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

/// Sends notices to the user, once for each name.
pub(crate) struct Advice {
    reported: parking_lot::Mutex<HashSet<String>>,
    events: mpsc::Sender<Event>,
}

impl Advice {
    pub(crate) fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            reported: parking_lot::Mutex::default(),
            events,
        }
    }

    /// Reports a name, unless it was reported before.
    pub(crate) fn report(&self, name: &str, reason: Withheld) {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let report = reason.report(&name);
        {
            let mut reported = self.reported.lock();
            if reported.len() >= MAX_NOTICES || !reported.insert(name) {
                return log::debug!("{}", report.message);
            }
        }
        // a launcher that reads slowly, or is gone, misses only this notice
        let _dropped = self.events.try_send(Event::Notice(report)).is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_reported_once_up_to_the_limit() {
        let (events, mut received) = mpsc::channel(100);
        let advice = Advice::new(events);
        for _ in 0..3 {
            advice.report("nas", Withheld::ShortName);
            advice.report("NAS.", Withheld::ShortName);
        }
        for index in 0..100 {
            advice.report(&format!("random{index}"), Withheld::ShortName);
        }
        drop(advice);
        let mut reports = Vec::new();
        while let Ok(Event::Notice(report)) = received.try_recv() {
            reports.push(report);
        }
        assert_eq!(reports.len(), MAX_NOTICES);
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
