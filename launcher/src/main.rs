//! `kinject`: runs a local program as if it stood inside a Kubernetes cluster.
//!
//! The launcher makes a session's private folder, starts its relay, waits until the session is up, runs the program
//! with the library preloaded, and takes the session down when the program has ended. It speaks no network protocol
//! and uses no async runtime: it is the process that a terminal, a debugger or a supervisor deals with.
//!
//! Built with the feature `bundle`, the executable also holds the relay, the preloaded libraries and the agents. The
//! launcher then executes its own file again as the relay.

mod agent_command;
mod agent_image;
mod child;
mod cli;
mod command_line;
mod exit;
mod folder;
mod forward_options;
mod forward_words;
mod inherited;
mod installation;
mod library;
mod manual;
mod message;
mod output;
mod outside;
#[cfg(feature = "bundle")]
mod parts;
mod program;
mod relay;
mod rules;
mod session;
mod shell;
mod signals;
mod survivors;
mod uninjectable;
mod version;
mod workload_environment;
mod workload_options;

use cli::Command;
use exit::{Failure, Status};
use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "bundle")]
    {
        kinject_bundle::embedded::provide(&parts::PARTS);
        if relay::is_this_process() {
            return kinject_relay::main();
        }
    }
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
        Command::Version { output } => version::print(output),
        Command::Agent(command) => agent_command::run(&command),
        Command::Completion { shell } => manual::print_completion(shell),
        Command::ManualPages { folder } => manual::write_pages(&folder),
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
