//! Failures of the session in words for its user.

use kinject_protocol::session::Report;
use kinject_tunnel::OpenError;

/// Why the session has no way to its agent.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What happened: lower case, no final period.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// Whether trying again is of no use.
    pub(crate) lasting: bool,
}

impl Failure {
    /// A failure that stays until the user does something.
    pub(crate) fn lasting(message: impl Into<String>, hint: &str) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.to_owned()),
            lasting: true,
        }
    }

    /// A failure that another attempt may not meet.
    pub(crate) fn passing(message: impl Into<String>, hint: &str) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.to_owned()),
            lasting: false,
        }
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

/// The two ends reached each other and did not come together.
pub(crate) fn of_open_error(error: &OpenError, place: &str) -> Failure {
    let message = format!("the agent at {place} and this kinject do not come together: {error}");
    match error {
        OpenError::Version { .. } => Failure::lasting(
            message,
            "use an agent and a kinject of the same version (`--agent-image` names the image)",
        ),
        OpenError::Io(_) | OpenError::TimedOut | OpenError::Closed => Failure::passing(
            message,
            "is it a kinject agent, and is the key the same at both ends?",
        ),
        _ => Failure::lasting(
            message,
            "is it a kinject agent, and is the key the same at both ends?",
        ),
    }
}
