//! Failures as a user meets them: a message, often a hint, and a status to exit with.

use std::ffi::OsString;
use std::io;

use crate::netns::Forbidden;

/// Statuses to exit with that are ours and not a command's. They are those of `env`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// The sandbox itself failed.
    Failed = 125,
    /// The command is there and cannot be executed.
    NotExecutable = 126,
    /// There is no such command.
    NotFound = 127,
}

/// A message that already knows its hint.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Hinted {
    message: String,
    hint: Option<String>,
}

impl Hinted {
    pub(crate) fn new(message: String, hint: Option<String>) -> Self {
        Self { message, hint }
    }
}

/// The command cannot be run.
#[derive(Debug, thiserror::Error)]
#[error("cannot run {}", .program.display())]
pub struct CommandFailure {
    program: OsString,
    source: io::Error,
}

impl CommandFailure {
    /// `program` failed to start with `source`.
    pub fn new(program: OsString, source: io::Error) -> Self {
        Self { program, source }
    }
}

/// What the user can do about an error, if we know.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    if let Some(hinted) = error.downcast_ref::<Hinted>() {
        return hinted.hint.clone();
    }
    if let Some(forbidden) = error.downcast_ref::<Forbidden>() {
        return Some(forbidden.hint().to_owned());
    }
    None
}

/// The status to exit with after an error.
pub fn status(error: &anyhow::Error) -> Status {
    match error.downcast_ref::<CommandFailure>() {
        Some(failure) if failure.source.kind() == io::ErrorKind::NotFound => Status::NotFound,
        Some(_) => Status::NotExecutable,
        None => Status::Failed,
    }
}
