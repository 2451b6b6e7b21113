//! `kinject`: runs a local program as if it stood inside a Kubernetes cluster.
//!
//! The launcher makes a session's private folder, starts its relay, waits until the session is up, runs the program
//! with the library preloaded, and takes the session down when the program has ended. It speaks no network protocol
//! and links no async runtime: it is what a terminal, a debugger or a supervisor sees of kinject.

mod child;
mod cli;
mod descriptors;
mod exit;
mod folder;
mod installation;
mod library;
mod message;
mod outsider;
mod program;
mod relay;
mod rules;
mod session;
mod shell;
mod signals;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return on_command_line(&error),
    };
    match session::run(cli.command) {
        Ok(status) => status.into(),
        Err(failure) => {
            message::error(&failure.error, failure.hint.as_deref());
            failure.code.into()
        }
    }
}

/// Help and version on stdout are what was asked for; anything else is a command line that makes no sense.
fn on_command_line(error: &clap::Error) -> ExitCode {
    // there is no other place to complain about a stdout or stderr that is closed
    let _unwritten = error.print().is_err();
    if error.use_stderr() {
        exit::Status::Kinject.into()
    } else {
        ExitCode::SUCCESS
    }
}
