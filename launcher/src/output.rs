//! The standard output of commands that run no program.

use crate::exit::{Failure, Status};
use std::io::Write;

/// Writes all of it.
pub(crate) fn print(content: &[u8]) -> Result<Status, Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(content)
        .and_then(|()| stdout.flush())
        .map_err(|error| {
            Failure::own(
                format!("cannot write to standard output: {error}"),
                "check that the disk is not full and the pipe not closed",
            )
        })?;
    Ok(Status::Exited(0))
}
