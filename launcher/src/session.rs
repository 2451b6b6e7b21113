//! A session from its first step to its last, as the launcher sees it.
//!
//! However the program ends, the launcher tells the relay and waits for it, so that nothing is left when `kinject`
//! returns.

mod events;
mod ready;

use crate::child::Child;
use crate::cli::{SessionCommand, SessionOptions};
use crate::exit::{Failure, Status};
use crate::message::{self, Progress, Severity};
use crate::program::Environment;
use crate::relay::Relay;
use crate::survivors::Survivors;
use crate::{folder, library, program, shell, signals, uninjectable};
use events::{SessionEvent, clean_up, supervise, take_down, wait_until_ready};
use kinject_protocol::session::{SessionConfig, Trace};
use ready::{ready_message, target_name};
use rustix::process::Signal;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Runs a program or a shell in a session of its own.
pub(crate) fn run(command: SessionCommand) -> Result<Status, Failure> {
    match command {
        SessionCommand::Run { session, command } => {
            let trace = session.is_traced().then_some(Trace::Stderr);
            run_program(&session, &command, trace)
        }
        SessionCommand::Trace {
            session,
            output,
            command,
        } => {
            let trace = match output {
                None => Trace::Stderr,
                Some(file) => trace_file(&file)?,
            };
            run_program(&session, &command, Some(trace))
        }
        SessionCommand::Shell { session } => {
            let trace = session.is_traced().then_some(Trace::Stderr);
            let shell = shell::of_user();
            uninjectable::check(&program::find(shell.as_os_str())?, &session)?;
            let name = shell.clone().into_os_string();
            let build =
                |folder: &Path, environment: &Environment| shell::command(&shell, folder, environment);
            let status = in_session(&session, trace, name, Signal::HUP, build);
            shell::take_terminal_back();
            status
        }
    }
}

fn run_program(
    options: &SessionOptions,
    command: &[OsString],
    trace: Option<Trace>,
) -> Result<Status, Failure> {
    let (name, arguments) = command.split_first().ok_or_else(no_program)?;
    uninjectable::check(&program::find(name)?, options)?;
    let build = |_: &Path, _: &Environment| {
        let mut command = Command::new(name);
        command.args(arguments);
        Ok(command)
    };
    in_session(options, trace, name.clone(), Signal::KILL, build)
}

/// Creates or truncates the trace file, or reports why it cannot be written.
fn trace_file(file: &Path) -> Result<Trace, Failure> {
    let made = std::path::absolute(file).and_then(|path| std::fs::File::create(&path).map(|_| path));
    made.map(Trace::File).map_err(|error| {
        Failure::own(
            format!("cannot write {}: {error}", kinject_escape::path(file)),
            "name a file in a folder that can be written to",
        )
    })
}

fn no_program() -> Failure {
    Failure::own("no program given", "write `kinject run -- COMMAND`")
}

fn in_session(
    options: &SessionOptions,
    trace: Option<Trace>,
    name: OsString,
    parent_death_signal: Signal,
    build: impl FnOnce(&Path, &Environment) -> Result<Command, Failure>,
) -> Result<Status, Failure> {
    let started = Instant::now();
    let mut progress = Progress::new(options.quiet, options.verbose());
    let rules = options.rules.read()?;
    let session = folder::new_session()?;
    let target = options.target().map_err(|error| {
        Failure::own(
            format!("cannot tell the current folder: {error}"),
            "change to one that exists",
        )
    })?;
    let library = library::find()?;
    let folder = folder::create(&session)?;
    let _removed_at_the_end = RemoveFolder(&folder);
    let (channel, events) = crossbeam_channel::unbounded();
    let early = signals::watch(channel.clone(), SessionEvent::Signal)?;
    let config = SessionConfig {
        session: session.clone(),
        folder: folder.clone(),
        library: library.clone(),
        target,
        log: options.log_level(),
        rules,
        trace,
    };
    let mut relay = Relay::start(config, channel.clone(), SessionEvent::Relay)?;
    let ready = match wait_until_ready(&events, &relay, &early, &mut progress, options.quiet) {
        Ok(ready) => ready,
        Err(ended) => {
            progress.clear();
            if relay.has_ended() {
                clean_up(&mut relay, &channel, message::error);
            }
            take_down(&events, &mut relay, options.quiet);
            return ended;
        }
    };
    progress.done(&ready_message(&ready, started.elapsed()));
    let environment = Environment {
        socket: ready.socket.clone(),
        control: ready.control.clone(),
        library,
        session,
        target: target_name(&ready),
        on_static: options.on_static,
    };
    let outcome = build(&folder, &environment).and_then(|mut command| {
        environment.apply(&mut command);
        Child::start(
            command,
            parent_death_signal,
            channel.clone(),
            SessionEvent::Program,
        )
        .map_err(|error| program::failure(&name, &error))
    });
    let status = outcome.map(|child| {
        early.started().for_each(|signal| child.signal(signal));
        supervise(&events, &channel, &child, &mut relay, options.quiet)
    });
    // a quiet session names no survivors, so it does not look for them
    let survivors = (!options.quiet).then(|| Survivors::find(&environment.control.0));
    take_down(&events, &mut relay, options.quiet);
    if let Some((message, hint)) = survivors.and_then(|survivors| survivors.report(&environment.library)) {
        message::say(Severity::Warning, &message, Some(hint));
    }
    status
}

/// Removes the session's folder if the relay could not.
struct RemoveFolder<'a>(&'a Path);

impl Drop for RemoveFolder<'_> {
    fn drop(&mut self) {
        folder::remove(self.0);
    }
}
