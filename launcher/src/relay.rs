//! The relay as the launcher's other child: starts it, sends it orders, reads its events.

use crate::child::end_with;
use crate::exit::{Failure, Status};
use crate::installation;
use crossbeam_channel::Sender;
use kinject_protocol::description::{RelayAnswer, RelayDescription};
use kinject_protocol::session::{
    Event, KubernetesTarget, LogLevel, Order, SessionConfig, Target, Trace, from_line, to_line,
};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

const NAME: &str = "kinject-relay";

/// The relay's log in the session's folder.
const LOG_NAME: &str = "relay.log";

/// How much of it is read to explain the relay's end: some lines.
const LAST_BYTES: u64 = 8192;

/// What the relay's thread reports to the launcher.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the large one comes once in a session")]
pub(crate) enum RelayEvent {
    /// An event.
    Event(Event),
    /// The relay has ended, with this status if it is known.
    End(Option<ExitStatus>),
}

/// A running relay.
pub(crate) struct Relay {
    config: SessionConfig,
    orders: UnixStream,
    log: PathBuf,
    ended: Cell<bool>,
    status: Cell<Option<ExitStatus>>,
    only_cleans_up: bool,
}

impl Relay {
    /// Starts a relay for this session and sends its events into `channel`.
    pub(crate) fn start<T: Send + 'static>(
        config: SessionConfig,
        channel: Sender<T>,
        wrap: impl Fn(RelayEvent) -> T + Send + 'static,
    ) -> Result<Self, Failure> {
        let order = Order::Start(Box::new(config.clone()));
        Self::start_with(config, &order, channel, wrap)
    }

    /// Starts another relay after one that ended without having removed what it made in the cluster: it removes that
    /// and ends.
    pub(crate) fn clean_up<T: Send + 'static>(
        &mut self,
        channel: Sender<T>,
        wrap: impl Fn(RelayEvent) -> T + Send + 'static,
    ) -> Result<(), Failure> {
        if matches!(self.config.target, Target::Kubernetes(_)) {
            let order = Order::CleanUp(Box::new(self.config.clone()));
            *self = Self::start_with(self.config.clone(), &order, channel, wrap)?;
        }
        Ok(())
    }

    fn start_with<T: Send + 'static>(
        config: SessionConfig,
        order: &Order,
        channel: Sender<T>,
        wrap: impl Fn(RelayEvent) -> T + Send + 'static,
    ) -> Result<Self, Failure> {
        let cannot = |what: &str, error: std::io::Error| {
            Failure::own(
                format!("cannot {what}: {error}"),
                "check that memory, disk and descriptors are not used up",
            )
        };
        let log = config.folder.join(LOG_NAME);
        let (own_end, relay_end) = UnixStream::pair().map_err(|error| cannot("make a socket pair", error))?;
        let errors = if config.log > LogLevel::Warn || config.trace == Some(Trace::Stderr) {
            Stdio::inherit()
        } else {
            File::create(&log)
                .map_err(|error| cannot(&format!("write {}", kinject_escape::path(&log)), error))?
                .into()
        };
        let program = find()?;
        let mut command = command(&program);
        command
            .stdin(OwnedFd::from(relay_end))
            .stdout(Stdio::null())
            .stderr(errors);
        // SAFETY: between fork and exec this makes one system call and touches no memory but its own stack
        unsafe { command.pre_exec(own_session) };
        let mut child = command
            .spawn()
            .map_err(|error| cannot(&format!("start {}", shown(&program)), error))?;
        // the command holds the relay's end of the socket pair
        drop(command);
        let mut relay = Self {
            config,
            orders: own_end,
            log,
            ended: Cell::new(false),
            status: Cell::new(None),
            only_cleans_up: matches!(order, Order::CleanUp(_)),
        };
        relay.order(order);
        let reports = relay
            .orders
            .try_clone()
            .map_err(|error| cannot("hear the relay", error))?;
        std::thread::spawn(move || {
            read_events(reports, &channel, &wrap);
            // reaped before its end is reported
            let status = child.wait().ok();
            let _disconnected = channel.send(wrap(RelayEvent::End(status))).is_err();
        });
        Ok(relay)
    }

    /// Tells the relay that the session is over.
    pub(crate) fn finish(&mut self) {
        self.order(&Order::Finish);
    }

    /// Records that the relay has ended; no event follows.
    pub(crate) fn note_end(&self, status: Option<ExitStatus>) {
        self.ended.set(true);
        self.status.set(status);
    }

    /// Whether this relay only removes what another one left.
    pub(crate) fn only_cleans_up(&self) -> bool {
        self.only_cleans_up
    }

    /// Whether the relay has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// An order to a relay that has ended is dropped; the thread that reads its events reports the end.
    fn order(&mut self, order: &Order) {
        let _disconnected = self.orders.write_all(to_line(order).as_bytes()).is_err();
    }

    /// Describes an unannounced end, with the last lines of the relay's log.
    pub(crate) fn end(&self) -> String {
        // a relay that logs to the terminal has no log file; the user has seen its last lines
        described(
            self.status.get(),
            &last_lines(&end_of(&self.log).unwrap_or_default()),
        )
    }
}

fn described(status: Option<ExitStatus>, last_lines: &str) -> String {
    let end = match status.map(|status| (status.signal(), status.code())) {
        Some((Some(signal), _)) => format!("the relay was killed (signal {signal})"),
        Some((None, Some(code))) => format!("the relay ended with status {code}"),
        _ => "the relay ended".to_owned(),
    };
    match last_lines {
        "" => end,
        words => format!("{end} after `{words}`"),
    }
}

fn last_lines(log: &[u8]) -> String {
    let lines: Vec<&[u8]> = log.trim_ascii_end().split(|byte| *byte == b'\n').collect();
    let last = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default();
    let last: Vec<String> = last.iter().map(|line| kinject_escape::bytes(line)).collect();
    last.join("; ")
}

/// The end of a file, whatever its size.
fn end_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(LAST_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut end = Vec::new();
    file.take(LAST_BYTES).read_to_end(&mut end)?;
    Ok(end)
}

fn read_events<T>(reports: UnixStream, channel: &Sender<T>, wrap: &impl Fn(RelayEvent) -> T) {
    for line in BufReader::new(reports).lines() {
        let Ok(line) = line else { return };
        // relay and launcher are one version, so an invalid line was truncated by the relay's end
        let Ok(event) = from_line(&line) else { return };
        if channel.send(wrap(RelayEvent::Event(event))).is_err() {
            return;
        }
    }
}

/// Makes the relay a session leader without a terminal: Ctrl-C and Ctrl-Z reach only the program, and the relay
/// survives a hang-up.
fn own_session() -> std::io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// Whether this process was started as a relay, by a kinject that holds its relay.
#[cfg(feature = "bundle")]
pub(crate) fn is_this_process() -> bool {
    std::env::args_os().next().is_some_and(|name| name == NAME)
}

/// What the relay says of itself.
pub(crate) fn describe() -> Result<RelayDescription, Failure> {
    ask(&["describe"])
}

/// Has the relay, which speaks with networks, push the agent's image to a registry; gives the name with the digest.
pub(crate) fn push_image(name: &str, plain_http: bool) -> Result<String, Failure> {
    let option = plain_http.then_some("--plain-http");
    let arguments: Vec<&str> = ["push-image", name].into_iter().chain(option).collect();
    done(ask(&arguments)?)
}

/// What a session with this target would make in the cluster, as YAML.
pub(crate) fn manifest(target: &KubernetesTarget, with_data: bool) -> Result<String, Failure> {
    let target = to_line(target);
    let option = with_data.then_some("--data");
    let arguments: Vec<&str> = ["manifest", &target].into_iter().chain(option).collect();
    done(ask(&arguments)?)
}

fn done(answer: RelayAnswer) -> Result<String, Failure> {
    match answer {
        RelayAnswer::Done(text) => Ok(text),
        RelayAnswer::Failed(report) => Err(Failure {
            code: Status::Kinject,
            error: report.message,
            hint: report.hint,
        }),
    }
}

/// Starts a relay that serves no session, and reads its answer. It has nothing to remove, so the kernel ends it when
/// the launcher dies, of Ctrl-C and SIGTERM too: no upload goes on after its command.
fn ask<T: DeserializeOwned>(arguments: &[&str]) -> Result<T, Failure> {
    let program = find()?;
    let cannot = |why: String| {
        Failure::own(
            format!("the relay in {} does not answer: {why}", shown(&program)),
            "install kinject again",
        )
    };
    let launcher = rustix::process::getpid();
    let mut command = command(&program);
    command.args(arguments).stdin(Stdio::null());
    // SAFETY: between fork and exec this makes two system calls and touches no memory but its own stack
    unsafe { command.pre_exec(move || end_with(launcher, Signal::KILL)) };
    let output = command.output().map_err(|error| cannot(error.to_string()))?;
    if !output.status.success() {
        return Err(cannot(described(
            Some(output.status),
            &last_lines(&output.stderr),
        )));
    }
    from_line(&String::from_utf8_lossy(&output.stdout)).map_err(|error| cannot(error.to_string()))
}

/// The relay as a command: it stands outside of every session, also where kinject runs inside of one. There the library
/// in this process restores the session's variables, unless `KINJECT_SOCKET` is empty.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg0(NAME)
        .env(kinject_protocol::environment::SOCKET, "")
        .env_remove(kinject_protocol::environment::LD_PRELOAD);
    command
}

/// The path of the relay's executable for messages: `/proc/self/exe` is another file to whoever reads it.
fn shown(program: &Path) -> String {
    let path = match cfg!(feature = "bundle") {
        true => installation::path().unwrap_or_else(|_| program.to_owned()),
        false => program.to_owned(),
    };
    kinject_escape::path(&path)
}

/// The relay's executable. A kinject that holds its relay starts itself, so that no other version's can come between.
pub(crate) fn find() -> Result<PathBuf, Failure> {
    if cfg!(feature = "bundle") {
        return installation::own_file();
    }
    let beside = installation::folder()?.join(NAME);
    if beside.is_file() {
        return Ok(beside);
    }
    Err(Failure::own(
        format!("{} is missing", kinject_escape::path(&beside)),
        "install kinject again, or run `cargo build --release` for all of the workspace",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unexpected_relay_exit_is_reported_with_the_last_log_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let noise = "noise\n".repeat(1 << 20);
        let log = [
            noise.as_bytes(),
            b"warn: \x1b[2J\nwarn: \xff\r\nkinject-relay: the end\n",
        ]
        .concat();
        std::fs::write(file.path(), log).unwrap();
        let end = end_of(file.path()).unwrap();
        assert_eq!(end.len() as u64, LAST_BYTES);
        assert_eq!(
            last_lines(&end),
            r"warn: \u{1b}[2J; warn: \xff\r; kinject-relay: the end"
        );
        assert_eq!(
            described(Some(ExitStatus::from_raw(9)), ""),
            "the relay was killed (signal 9)"
        );
        assert_eq!(
            described(Some(ExitStatus::from_raw(1 << 8)), "a; b"),
            "the relay ended with status 1 after `a; b`"
        );
        assert_eq!(described(None, ""), "the relay ended");
        assert_eq!(last_lines(b"the only one\n"), "the only one");
        assert_eq!(last_lines(b""), "");
    }
}
