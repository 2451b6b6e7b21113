//! A session from its first step to its last, as the launcher sees it.
//!
//! However the program ends, the launcher tells the relay and waits for it, so that nothing is left when `kinject`
//! returns.

mod events;
mod forward;
mod paths;
mod ready;

use crate::child::Child;
use crate::cli::{ConnectionOptions, OutputOptions, SessionCommand, SessionOptions};
use crate::exit::{Failure, Status};
use crate::message::{self, Progress, Severity};
use crate::program::{Environment, Standing};
use crate::relay::Relay;
use crate::rules::RuleOptions;
use crate::signals::Early;
use crate::survivors::Survivors;
use crate::workload_environment::{EnvironmentFile, EnvironmentRules, Format, Variables};
use crate::workload_environment::{certificates, difference};
use crate::workload_options::Hostname;
use crate::{folder, library, output, program, shell, signals, uninjectable};
use crossbeam_channel::{Receiver, Sender};
use events::{SessionEvent, clean_up, supervise, take_down, wait_until_ready};
use kinject_protocol::forward::ForwardRequest;
use kinject_protocol::session::{Ready, SessionConfig, Target, Trace};
use kinject_protocol::workload::WorkloadRequest;
use ready::{ready_message, target_name};
use rustix::process::Signal;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Does what a command does in a session of its own.
pub(crate) fn run(command: SessionCommand) -> Result<Status, Failure> {
    match command {
        SessionCommand::Run { session, command } => {
            let trace = session.output.is_traced().then_some(Trace::Stderr);
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
            let trace = session.output.is_traced().then_some(Trace::Stderr);
            let shell = shell::of_user();
            uninjectable::check(&program::find(shell.as_os_str())?, &session)?;
            let build =
                |folder: &Path, environment: &Environment| shell::command(&shell, folder, environment);
            let plan = Plan::new(&session, trace, Hostname::Local)?;
            let status = in_session(plan, |running| running.run(shell.as_os_str(), Signal::HUP, build));
            shell::take_terminal_back();
            status
        }
        SessionCommand::Forward(options) => forward::run(&options),
        SessionCommand::Env { session, output } => print_environment(&session, output),
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
    let plan = Plan::new(options, trace, Hostname::Pod)?;
    in_session(plan, |running| running.run(name, Signal::KILL, build))
}

/// `kinject env`
fn print_environment(options: &SessionOptions, format: Format) -> Result<Status, Failure> {
    if let Some((option, ..)) = options.workload.environment_files().next() {
        return Err(Failure::own(
            format!("{option} is for a session with a program"),
            "write `kinject env -o dotenv > FILE`, or -o json",
        ));
    }
    let trace = options.output.is_traced().then_some(Trace::Stderr);
    let mut plan = Plan::new(options, trace, Hostname::Pod)?;
    plan.names_missing_certificates = !options.output.quiet;
    match &mut plan.workload {
        // the container's variables do not need its volumes
        Some(request) => request.files = false,
        None => {
            return Err(Failure::own(
                "no workload given",
                "name it with --target, as in `kinject env --target deploy/web`",
            ));
        }
    }
    in_session(plan, |running| {
        let rendered = format.render(&running.environment.standing.exported);
        output::print(&rendered.text)?;
        if let Some((message, hint)) = rendered.ambiguity() {
            running.warn(&message, hint);
        }
        Ok(match rendered.incompleteness() {
            Some((message, hint)) => {
                message::error(&message, Some(hint));
                Status::Exited(1)
            }
            None => Status::Exited(0),
        })
    })
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

/// What a session is to be, as far as the command line and this machine say.
struct Plan<'a> {
    options: &'a SessionOptions,
    trace: Option<Trace>,
    workload: Option<WorkloadRequest>,
    hostname: Hostname,
    machine: Variables,
    environment_rules: EnvironmentRules,
    /// Whether variables are named that are left out since their certificates are not there.
    names_missing_certificates: bool,
}

impl<'a> Plan<'a> {
    /// Reads the options; `hostname` is the default of `--hostname`.
    fn new(options: &'a SessionOptions, trace: Option<Trace>, hostname: Hostname) -> Result<Self, Failure> {
        let workload = options.workload.request()?;
        options.workload.check_files()?;
        let hostname = options.workload.hostname(hostname);
        let machine: Variables = std::env::vars_os().collect();
        Ok(Self {
            options,
            trace,
            workload,
            hostname,
            environment_rules: options.workload.rules(hostname, &machine)?,
            machine,
            names_missing_certificates: options.output.verbose(),
        })
    }

    /// What programs find of the workload, and their environment.
    fn standing(self, ready: &Ready) -> Result<Standing, Failure> {
        let workload = match (&self.workload, &ready.workload) {
            (Some(_), None) => {
                return Err(Failure::own(
                    "the relay has not found the workload's environment",
                    "install kinject again: its parts are of different versions",
                ));
            }
            (_, found) => found.as_ref(),
        };
        let theirs = workload.map_or(&[][..], |found| found.environment.as_slice());
        let paths = workload.and_then(|found| found.paths.as_deref());
        let theirs = &self.without_missing_certificates(theirs, paths)[..];
        self.name_hidden_folders(paths);
        let impossible = self.environment_rules.impossible(theirs);
        if !impossible.is_empty() && !self.options.output.quiet {
            let names: Vec<String> = impossible.into_iter().map(shown).collect();
            let message = format!(
                "left out, since no environment can hold them: {}",
                names.join(", ")
            );
            message::say(Severity::Warning, &message, None);
        }
        Ok(Standing {
            paths: paths.map(OsStr::to_owned),
            hostname: workload
                .filter(|_| self.hostname == Hostname::Pod)
                .map(|found| found.hostname.clone()),
            remote_exec: self.options.workload.remote_exec(),
            exported: self.environment_rules.for_others(theirs),
            program: self.environment_rules.for_program(&self.machine, theirs),
            machine: self.machine,
        })
    }
}

impl Plan<'_> {
    /// The workload's variables without those that name certificates which the program would not find.
    fn without_missing_certificates(
        &self,
        theirs: &[(OsString, OsString)],
        paths: Option<&OsStr>,
    ) -> Vec<(OsString, OsString)> {
        let mut missing = certificates::missing(theirs, |path| paths::is_there(paths, path));
        missing.retain(|(name, _)| self.environment_rules.takes_by_default(name));
        for (name, path) in &missing {
            if self.names_missing_certificates {
                let (name, path) = (shown(name), shown(path));
                let way_on = match paths {
                    Some(_) => format!(
                        "`--remote-path {}` reads it from the container",
                        kinject_escape::word(&path)
                    ),
                    None => format!("`--env-include {name}` sets it nevertheless"),
                };
                let message = format!("{name} is left out, since {path} is not on this machine: {way_on}");
                message::say(Severity::Notice, &message, None);
            }
        }
        let is_kept = |variable: &&(OsString, OsString)| !missing.contains(variable);
        theirs.iter().filter(is_kept).cloned().collect()
    }

    /// Says which folders of this machine programs do not see.
    fn name_hidden_folders(&self, paths: Option<&OsStr>) {
        let home = self.machine.get(OsStr::new("HOME")).map(Path::new);
        let working = std::env::current_dir().ok();
        let hidden = paths.map_or_else(Vec::new, |paths| paths::hidden(paths, home, working.as_deref()));
        if !hidden.is_empty() && !self.options.output.quiet {
            let message = format!(
                "mounts of the container take the place of this machine's {}: `--local-path PATH` keeps this machine's",
                hidden.join(", ")
            );
            message::say(Severity::Notice, &message, None);
        }
    }
}

fn shown(name: &OsStr) -> String {
    kinject_escape::bytes(name.as_encoded_bytes())
}

/// A session that is up.
struct Running<'a> {
    options: &'a SessionOptions,
    folder: &'a Path,
    environment: &'a Environment,
    events: &'a Receiver<SessionEvent>,
    channel: &'a Sender<SessionEvent>,
    early: &'a Early,
    relay: &'a mut Relay,
    survivors: &'a mut Option<Survivors>,
}

impl Running<'_> {
    /// Runs a program until it ends.
    fn run(
        self,
        name: &OsStr,
        parent_death_signal: Signal,
        build: impl FnOnce(&Path, &Environment) -> Result<Command, Failure>,
    ) -> Result<Status, Failure> {
        let _removed_with_the_program = self.write_environment_files()?;
        let mut command = build(self.folder, self.environment)?;
        self.environment.apply(&mut command);
        let child = Child::start(
            command,
            parent_death_signal,
            self.channel.clone(),
            SessionEvent::Program,
        )
        .map_err(|error| program::failure(name, &error))?;
        self.early.started().for_each(|signal| child.signal(signal));
        let quiet = self.options.output.quiet;
        let status = supervise(self.events, self.channel, &child, self.relay, quiet);
        // a quiet session names no survivors, so it does not look for them
        *self.survivors = (!quiet).then(|| Survivors::find(&self.environment.control.0));
        Ok(status)
    }

    /// Writes the files of `--env-file` and `--env-json`.
    fn write_environment_files(&self) -> Result<Vec<EnvironmentFile>, Failure> {
        let files = self.options.workload.environment_files();
        files
            .map(|(option, file, format)| {
                let rendered = format.render(&self.environment.standing.exported);
                let remarks = [rendered.incompleteness(), rendered.ambiguity()];
                for (message, hint) in remarks.into_iter().flatten() {
                    self.warn(&format!("{option}: {message}"), hint);
                }
                EnvironmentFile::write(self.folder, option, file, format, &rendered)
            })
            .collect()
    }

    fn warn(&self, message: &str, hint: &str) {
        if !self.options.output.quiet {
            message::say(Severity::Warning, message, Some(hint));
        }
    }
}

/// Makes a session with programs, acts in it, and takes it down.
fn in_session(
    plan: Plan<'_>,
    act: impl FnOnce(Running<'_>) -> Result<Status, Failure>,
) -> Result<Status, Failure> {
    let options = plan.options;
    let setup = Setup {
        connection: &options.connection,
        rules: &options.rules,
        output: &options.output,
        trace: plan.trace.clone(),
        workload: plan.workload.clone(),
        forward: None,
    };
    let (mut survivors, mut library) = (None, PathBuf::new());
    let status = with_relay(&setup, |up| {
        library.clone_from(&up.config.library);
        let standing = plan.standing(up.ready)?;
        difference::write(up.folder, &standing.machine, &standing.program).map_err(|error| {
            Failure::own(
                format!("cannot write to {}: {error}", kinject_escape::path(up.folder)),
                "check that the disk is not full",
            )
        })?;
        let environment = Environment {
            socket: up.ready.socket.clone(),
            control: up.ready.control.clone(),
            library: library.clone(),
            session: up.config.session.clone(),
            target: target_name(up.ready),
            on_static: options.on_static,
            standing,
        };
        act(Running {
            options,
            folder: up.folder,
            environment: &environment,
            events: up.events,
            channel: up.channel,
            early: up.early,
            relay: up.relay,
            survivors: &mut survivors,
        })
    });
    if let Some((message, hint)) = survivors.and_then(|survivors| survivors.report(&library)) {
        message::say(Severity::Warning, &message, Some(hint));
    }
    status
}

/// What every session is made from.
struct Setup<'a> {
    connection: &'a ConnectionOptions,
    rules: &'a RuleOptions,
    output: &'a OutputOptions,
    trace: Option<Trace>,
    workload: Option<WorkloadRequest>,
    /// What the relay listens at. Such a session has no programs.
    forward: Option<ForwardRequest>,
}

/// A session whose relay is ready.
struct Up<'a> {
    config: &'a SessionConfig,
    ready: &'a Ready,
    folder: &'a Path,
    events: &'a Receiver<SessionEvent>,
    channel: &'a Sender<SessionEvent>,
    early: &'a Early,
    relay: &'a mut Relay,
}

/// Makes a session, acts in it, and takes it down.
fn with_relay(
    setup: &Setup<'_>,
    act: impl FnOnce(Up<'_>) -> Result<Status, Failure>,
) -> Result<Status, Failure> {
    let started = Instant::now();
    let quiet = setup.output.quiet;
    let mut progress = Progress::new(quiet, setup.output.verbose());
    let rules = setup.rules.read()?;
    let session = folder::new_session()?;
    let mut target = setup.connection.target().map_err(|error| {
        Failure::own(
            format!("cannot tell the current folder: {error}"),
            "change to one that exists",
        )
    })?;
    if let Target::Kubernetes(target) = &mut target {
        target.workload.clone_from(&setup.workload);
    }
    let library = match setup.forward {
        None => library::find()?,
        // no program is started with it
        Some(_) => PathBuf::new(),
    };
    folder::sweep();
    let session_folder = folder::create(&session)?;
    let folder = session_folder.path().to_owned();
    let (channel, events) = crossbeam_channel::unbounded();
    let early = signals::watch(channel.clone(), SessionEvent::Signal)?;
    let config = SessionConfig {
        session,
        folder: folder.clone(),
        library,
        target,
        log: setup.output.log_level(),
        rules,
        trace: setup.trace.clone(),
        forward: setup.forward.clone(),
    };
    let mut relay = Relay::start(config.clone(), channel.clone(), SessionEvent::Relay)?;
    let ready = match wait_until_ready(&events, &relay, &early, &mut progress, quiet) {
        Ok(ready) => ready,
        Err(ended) => {
            progress.clear();
            if relay.has_ended() {
                clean_up(&mut relay, &channel, message::error);
            }
            take_down(&events, &mut relay, quiet);
            return ended;
        }
    };
    progress.done(&ready_message(&ready, started.elapsed()));
    let workload = ready.workload.as_ref();
    if let Some(rights) = workload.and_then(|workload| workload.account_rights.as_ref()) {
        progress.done(rights);
    }
    let status = act(Up {
        config: &config,
        ready: &ready,
        folder: &folder,
        events: &events,
        channel: &channel,
        early: &early,
        relay: &mut relay,
    });
    take_down(&events, &mut relay, quiet);
    status
}
