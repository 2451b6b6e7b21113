//! `kinject`: runs a local program as if it stood inside a Kubernetes cluster.
//!
//! The launcher makes a session's private folder, starts its relay, waits until the session is up, runs the program
//! with the library preloaded, and takes the session down when the program has ended. It speaks no network protocol
//! and links no async runtime: it is the process that a terminal, a debugger or a supervisor deals with.

mod child;
mod cli;
mod command_line;
mod exit;
mod folder;
mod inherited;
mod installation;
mod library;
mod message;
mod outside;
mod program;
mod relay;
mod rules;
mod session;
mod shell;
mod signals;
mod survivors;
mod uninjectable;

use cli::Command;
use exit::{Failure, Status};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let done = command_line::parse(std::env::args_os()).and_then(|parsed| match parsed {
        Some(cli) => execute(cli.command),
        None => Ok(Status::Exited(0)),
    });
    match done {
        Ok(status) => status.finish(),
        Err(failure) => {
            message::error(&failure.error, failure.hint.as_deref());
            failure.code.finish()
        }
    }
}

fn execute(command: Command) -> Result<Status, Failure> {
    match command {
        Command::Version => version(),
        Command::Outside { command } => {
            outside::leave_session()?;
            match outside::run(&command)? {}
        }
        Command::Session(command) => {
            command_line::check_home(&command.files())?;
            outside::leave_session()?;
            session::run(command)
        }
    }
}

fn version() -> Result<Status, Failure> {
    let written = writeln!(std::io::stdout(), "kinject {}", env!("CARGO_PKG_VERSION"));
    written.map_err(|error| {
        Failure::own(
            format!("cannot write to standard output: {error}"),
            "check that the disk is not full and the pipe not closed",
        )
    })?;
    Ok(Status::Exited(0))
}
