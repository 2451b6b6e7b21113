//! A session from its first step to its last, as the launcher sees it.
//!
//! One loop receives events from three sources: the relay, the program, and signals. However the program ends, the
//! launcher tells the relay and waits for it, so that nothing is left when `kinject` returns.

use crate::child::{Change, Child};
use crate::cli::{SessionCommand, SessionOptions};
use crate::exit::{Failure, Status};
use crate::message::{self, Progress, Severity};
use crate::program::Environment;
use crate::relay::{Relay, RelayEvent};
use crate::signals::{Early, ReceivedSignal};
use crate::survivors::Survivors;
use crate::{folder, library, program, shell, signals, uninjectable};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use kinject_protocol::session::{Event, Ready, Report, SessionConfig, Trace};
use rustix::process::Signal;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long the relay may take to deliver what programs wrote before they ended, once it has announced that; the
/// relay's own bound is lower.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(310);

/// How long the relay may take to announce that, and to remove what it made; the relay's own bound is lower.
const TAKE_DOWN_TIMEOUT: Duration = Duration::from_secs(15);

/// The launcher receives the Ctrl-C that ended the program, too: within this time it does not mean "do not wait".
const SAME_CTRL_C: Duration = Duration::from_millis(500);

enum SessionEvent {
    Relay(RelayEvent),
    Program(Change),
    Signal(ReceivedSignal),
}

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

/// Waits until the session is ready. Otherwise the result is a failure, or the signal that ends kinject before its
/// program ran.
fn wait_until_ready(
    events: &Receiver<SessionEvent>,
    relay: &Relay,
    early: &Early,
    progress: &mut Progress,
    quiet: bool,
) -> Result<Ready, Result<Status, Failure>> {
    loop {
        // the relay's thread keeps the channel open until it has reported the relay's end
        let Ok(event) = events.recv() else {
            return Err(Err(unannounced(relay)));
        };
        match event {
            SessionEvent::Relay(RelayEvent::Event(Event::Progress(words))) => progress.step(&words),
            SessionEvent::Relay(RelayEvent::Event(Event::Ready(ready))) => return Ok(ready),
            SessionEvent::Relay(RelayEvent::Event(Event::Failed(report))) => {
                return Err(Err(Failure {
                    code: Status::Kinject,
                    error: report.message,
                    hint: report.hint,
                }));
            }
            SessionEvent::Relay(RelayEvent::Event(Event::Notice(report))) if !quiet => {
                progress.clear();
                say(Severity::Warning, &report);
            }
            SessionEvent::Relay(RelayEvent::Event(Event::Notice(_) | Event::Recovered(_))) => {}
            SessionEvent::Relay(RelayEvent::Event(Event::WoundUp | Event::Finished)) => {
                return Err(Err(unannounced(relay)));
            }
            SessionEvent::Relay(RelayEvent::End(status)) => {
                relay.note_end(status);
                return Err(Err(unannounced(relay)));
            }
            SessionEvent::Signal(received) => match received.signal {
                libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTERM => {
                    return Err(Ok(Status::Killed(received.signal as u8)));
                }
                libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => {
                    early.forget(received.signal);
                    stop_self();
                }
                _ => {}
            },
            SessionEvent::Program(_) => {}
        }
    }
}

fn unannounced(relay: &Relay) -> Failure {
    Failure::own(relay.end(), "run again with -v and report what it says")
}

/// The relay has ended without having removed what it made: starts another one that does.
fn clean_up(relay: &mut Relay, channel: &Sender<SessionEvent>, say: impl FnOnce(&str, Option<&str>)) {
    if let Err(failure) = relay.clean_up(channel.clone(), SessionEvent::Relay) {
        say(&failure.error, failure.hint.as_deref());
    }
}

/// What the relay has announced about its end while the program runs.
#[derive(Clone, Copy, Debug, Default)]
struct Announced {
    /// The session has failed, and the user was told.
    failed: bool,
    /// What the session made is removed.
    finished: bool,
}

impl Announced {
    /// Whether the end of the relay needs no further message.
    fn is_reported(self) -> bool {
        self.failed && self.finished
    }
}

/// Handles events until the program ends.
fn supervise(
    events: &Receiver<SessionEvent>,
    channel: &Sender<SessionEvent>,
    child: &Child,
    relay: &mut Relay,
    quiet: bool,
) -> Status {
    let mut announced = Announced::default();
    loop {
        // the program's thread keeps the channel open until it has reported the program's end
        let Ok(event) = events.recv() else {
            return Status::Kinject;
        };
        match event {
            SessionEvent::Program(Change::Ended(status)) => return status,
            SessionEvent::Program(Change::Stopped) => stop_self(),
            SessionEvent::Signal(ReceivedSignal {
                signal: libc::SIGCONT,
                ..
            }) => child.signal(libc::SIGCONT),
            SessionEvent::Signal(ReceivedSignal {
                signal,
                for_launcher_only: true,
            }) => child.signal(signal),
            SessionEvent::Signal(_) => {}
            SessionEvent::Relay(RelayEvent::Event(Event::Notice(report))) if !quiet => {
                message::beside_program(Severity::Warning, &report.message, report.hint.as_deref());
            }
            SessionEvent::Relay(RelayEvent::Event(Event::Recovered(message))) if !quiet => {
                message::beside_program(Severity::Notice, &message, None);
            }
            // the session is over, and the program goes on
            SessionEvent::Relay(RelayEvent::Event(Event::Failed(report))) => {
                announced.failed = true;
                message::beside_program(Severity::Error, &report.message, report.hint.as_deref());
            }
            SessionEvent::Relay(RelayEvent::Event(Event::Finished)) => announced.finished = true,
            SessionEvent::Relay(RelayEvent::Event(_)) => {}
            SessionEvent::Relay(RelayEvent::End(status))
                if relay.only_cleans_up() || announced.is_reported() =>
            {
                relay.note_end(status)
            }
            SessionEvent::Relay(RelayEvent::End(status)) => {
                relay.note_end(status);
                let message = format!("{}: this session has no cluster any more", relay.end());
                message::beside_program(Severity::Error, &message, Some("restart the command"));
                if !announced.finished {
                    clean_up(relay, channel, |message, hint| {
                        message::beside_program(Severity::Error, message, hint);
                    });
                }
            }
        }
    }
}

/// The program was stopped: so is kinject, until a shell's `fg` continues both.
fn stop_self() {
    // SAFETY: kill has no preconditions
    let _never = unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) } != 0;
}

/// Tells the relay to finish and waits until everything is removed. Another Ctrl-C ends the wait.
fn take_down(events: &Receiver<SessionEvent>, relay: &mut Relay, quiet: bool) {
    if relay.has_ended() {
        return;
    }
    relay.finish();
    let begun = Instant::now();
    let mut deadline = begun + TAKE_DOWN_TIMEOUT;
    loop {
        match events.recv_deadline(deadline) {
            Ok(SessionEvent::Relay(RelayEvent::End(_))) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(SessionEvent::Relay(RelayEvent::Event(Event::Notice(report)))) => {
                deadline = deadline.max(begun + DELIVERY_TIMEOUT);
                if !quiet {
                    say(Severity::Warning, &report);
                }
            }
            Ok(SessionEvent::Relay(RelayEvent::Event(Event::Recovered(message)))) => {
                deadline = deadline.max(begun + DELIVERY_TIMEOUT);
                if !quiet {
                    message::say(Severity::Notice, &message, None);
                }
            }
            Ok(SessionEvent::Relay(RelayEvent::Event(Event::WoundUp))) => {
                deadline = Instant::now() + TAKE_DOWN_TIMEOUT
            }
            Ok(SessionEvent::Signal(ReceivedSignal {
                signal: libc::SIGINT | libc::SIGTERM,
                ..
            })) if begun.elapsed() > SAME_CTRL_C => {
                return message::say(
                    Severity::Notice,
                    "not waiting for the cluster: the relay goes on by itself",
                    None,
                );
            }
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => {
                return message::say(
                    Severity::Warning,
                    "the session takes long to end",
                    Some("it goes on by itself; the agent's Job ends by itself too"),
                );
            }
        }
    }
}

fn say(severity: Severity, report: &Report) {
    message::say(severity, &report.message, report.hint.as_deref());
}

fn ready_message(ready: &Ready, took: Duration) -> String {
    let target = match &ready.namespace {
        Some(namespace) => format!("{}/{namespace}", ready.cluster),
        None => ready.cluster.clone(),
    };
    format!(
        "{target} ready in {:.1} s ({})",
        took.as_secs_f32(),
        transport(ready)
    )
}

/// The transport to the agent, whether TLS is missing, and why it is not the pod proxy.
fn transport(ready: &Ready) -> String {
    let name = match ready.transport.as_str() {
        "proxy" => "pod proxy",
        other => other,
    };
    let tls = match (ready.transport.as_str(), ready.tls) {
        ("proxy", _) | ("direct", false) => "",
        (_, true) => ", TLS",
        (_, false) => ", no TLS inside",
    };
    let transport = format!("{name}{tls}");
    match &ready.not_by_proxy {
        Some(reason) => format!("{transport}; {reason}"),
        None => transport,
    }
}

/// The value of `KINJECT_TARGET`, which programs and prompts print: names from the kubeconfig, escaped to one line.
fn target_name(ready: &Ready) -> String {
    kinject_escape::line(match &ready.namespace {
        Some(namespace) => format!("{}/{namespace}", ready.cluster),
        None => ready.cluster.clone(),
    })
}

/// Removes the session's folder if the relay could not.
struct RemoveFolder<'a>(&'a Path);

impl Drop for RemoveFolder<'_> {
    fn drop(&mut self) {
        folder::remove(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinject_protocol::session::Confidential;

    #[test]
    fn control_characters_in_a_context_name_are_escaped_in_the_environment() {
        let ready = |cluster: &str, namespace: Option<&str>| Ready {
            cluster: cluster.into(),
            namespace: namespace.map(Into::into),
            transport: "proxy".into(),
            tls: true,
            not_by_proxy: None,
            socket: "/run/control.sock".into(),
            control: Confidential(String::new()),
            workload: None,
        };
        assert_eq!(
            target_name(&ready("kind-dev", Some("default"))),
            "kind-dev/default"
        );
        assert_eq!(target_name(&ready("unix:/a b", None)), "unix:/a b");
        // exec fails for a variable that holds a NUL byte
        let hostile = ready("dev\x1b]0;prod\x07\0", Some("a\nb"));
        assert_eq!(target_name(&hostile), r"dev\u{1b}]0;prod\u{7}\0/a\nb");
    }

    #[test]
    fn relay_exit_is_already_reported_only_after_failed_and_finished_events() {
        for (failed, finished, is_reported) in [
            (true, true, true),
            (true, false, false),
            // the relay was killed: the program has lost the cluster, and no message has said so
            (false, true, false),
            (false, false, false),
        ] {
            assert_eq!(Announced { failed, finished }.is_reported(), is_reported);
        }
    }

    fn ready_message_of(transport: &str, tls: bool, not_by_proxy: Option<&str>) -> String {
        let ready = Ready {
            cluster: "dev".into(),
            namespace: Some("web".into()),
            transport: transport.into(),
            tls,
            not_by_proxy: not_by_proxy.map(str::to_owned),
            socket: "/run/control.sock".into(),
            control: Confidential(String::new()),
        };
        ready_message(&ready, Duration::from_millis(1234))
    }

    #[test]
    fn ready_message_names_the_transport_and_missing_tls() {
        for (ready_message, transport) in [
            (
                ready_message_of("port-forward", false, Some("the pod proxy may not be used")),
                "port-forward, no TLS inside; the pod proxy may not be used",
            ),
            (ready_message_of("proxy", true, None), "pod proxy"),
            (ready_message_of("port-forward", true, None), "port-forward, TLS"),
            (
                ready_message_of("port-forward", false, None),
                "port-forward, no TLS inside",
            ),
            (ready_message_of("direct", true, None), "direct, TLS"),
            (ready_message_of("direct", false, None), "direct"),
        ] {
            assert_eq!(ready_message, format!("dev/web ready in 1.2 s ({transport})"));
        }
    }
}
