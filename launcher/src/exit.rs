//! Exit statuses, as env(1) and the shells have them.

use std::process::ExitCode;

/// What `kinject` exits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// kinject itself failed: 125.
    Kinject,
    /// The command was found and could not be run: 126.
    CannotRun,
    /// The command was not found: 127.
    NotFound,
    /// The command's own exit status.
    Exited(u8),
    /// A signal ended the command: 128 and the signal's number.
    Killed(u8),
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(match status {
            Status::Kinject => 125,
            Status::CannotRun => 126,
            Status::NotFound => 127,
            Status::Exited(code) => code,
            Status::Killed(signal) => 128 + signal,
        })
    }
}

/// A failure before the command ran.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What `kinject` exits with.
    pub(crate) code: Status,
    /// What happened: lower case, no final period.
    pub(crate) error: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// kinject's own failure.
    pub(crate) fn own(error: impl Into<String>, hint: &str) -> Self {
        Self {
            code: Status::Kinject,
            error: error.into(),
            hint: Some(hint.to_owned()),
        }
    }
}
