//! A session that stays open, so that many programs can run in it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use kinject_protocol::control::ControlAddress;

use crate::cluster::wait_for;
use crate::place::Place;
use crate::programs::Program;
use crate::running::{self, Outcome};
use crate::{apart, binaries, cluster, process};

/// How long a session may take to end, with everything that it made.
const END: Duration = Duration::from_secs(20);

/// What `kinject run` sets for its program, as the holder of a session prints it.
const VARIABLES: [&str; 6] = [
    "KINJECT_SOCKET",
    "KINJECT_CONTROL",
    "KINJECT_LIBRARY",
    "KINJECT_SESSION",
    "KINJECT_TARGET",
    "LD_PRELOAD",
];

/// Prints the variables, a line each, and lives until its standard input ends.
const HOLDER: &str = r#"printf '%s\n' "$KINJECT_SOCKET" "$KINJECT_CONTROL" "$KINJECT_LIBRARY" "$KINJECT_SESSION" "$KINJECT_TARGET" "$LD_PRELOAD" && exec cat"#;

/// `kinject run`, which holds a session open while this value lives.
#[derive(Debug)]
pub struct Session {
    launcher: Child,
    input: Option<ChildStdin>,
    variables: Vec<(&'static str, String)>,
}

impl Session {
    /// Starts a session at a place, with flags besides those that lead there.
    pub fn start<S: AsRef<OsStr>>(place: &Place, flags: &[S]) -> Self {
        Self::start_by(&binaries::kinject(), place, flags)
    }

    /// The same by that kinject.
    pub fn start_by<S: AsRef<OsStr>>(kinject: &Path, place: &Place, flags: &[S]) -> Self {
        let mut command = apart::command(kinject);
        command
            .args(["run", "--quiet"])
            .args(place.flags())
            .args(flags)
            .args(["--", "sh", "-c", HOLDER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let what = running::describe(&command);
        let mut launcher = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        let output = launcher.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        let variables = VARIABLES
            .iter()
            .map(|name| match lines.next() {
                Some(Ok(value)) => (*name, value),
                other => panic!("`{what}` did not come up: {other:?}"),
            })
            .collect();
        let input = launcher.stdin.take();
        Self {
            launcher,
            input,
            variables,
        }
    }

    /// A program in the session, as a child of the session's first program would be.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// One of the variables.
    pub fn variable(&self, name: &str) -> &str {
        let found = self.variables.iter().find(|(known, _)| *known == name);
        found.map_or_else(
            || panic!("{name} is no variable of a session"),
            |(_, value)| value,
        )
    }

    /// The session's name.
    pub fn name(&self) -> &str {
        self.variable("KINJECT_SESSION")
    }

    /// The session's token in hexadecimal digits of its bytes: what every message to the relay begins with.
    pub fn token(&self) -> String {
        let control = ControlAddress::parse(self.variable("KINJECT_CONTROL").as_bytes());
        let token = control.expect("a session has an address of its relay").token;
        token.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The session's folder.
    pub fn folder(&self) -> PathBuf {
        let socket = Path::new(self.variable("KINJECT_SOCKET"));
        socket.parent().expect("a socket stands in a folder").to_owned()
    }

    /// The launcher's process.
    pub fn launcher(&self) -> u32 {
        self.launcher.id()
    }

    /// The relay's process: the launcher's child of that name.
    pub fn relay(&self) -> u32 {
        relay_of(self.launcher()).unwrap_or_else(|| panic!("the session's relay is gone"))
    }

    /// Ends the session's program, waits for kinject and returns its status.
    pub fn end(mut self) -> i32 {
        self.wait_for_the_end()
    }

    /// Waits for kinject, whatever ends it.
    pub fn ended(&mut self) -> i32 {
        let launcher = &mut self.launcher;
        let status = wait_for("the end of kinject", END, || Ok(launcher.try_wait()?));
        let status = status.unwrap_or_else(|error| panic!("{error:#}"));
        Outcome {
            command: "kinject run".to_owned(),
            status,
            stdout: String::new(),
            stderr: String::new(),
            took: Duration::ZERO,
        }
        .code()
    }

    fn wait_for_the_end(&mut self) -> i32 {
        drop(self.input.take());
        self.ended()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // a test that fails leaves its session to the holder's end of input
        if self.input.is_some() && !std::thread::panicking() {
            self.wait_for_the_end();
        }
    }
}

/// The relay that a launcher has started.
pub fn relay_of(launcher: u32) -> Option<u32> {
    let mut children = process::children(launcher).into_iter();
    children.find(|child| process::name(*child).as_deref() == Some("kinject-relay"))
}

/// Asks until something holds; panics when it does not in time.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    if let Err(error) = cluster::wait_for(what, limit, || Ok(holds().then_some(()))) {
        panic!("{error:#} (deadline {deadline:?})");
    }
}

/// Writes a line to the standard input of a child.
pub fn write_line(input: &mut impl Write, line: &str) {
    input
        .write_all(format!("{line}\n").as_bytes())
        .unwrap_or_else(|error| panic!("cannot write {line:?}: {error}"));
}

/// `kinject run` with these flags in front of the program, away from the machine's name servers.
pub fn kinject_run<S: AsRef<OsStr>>(place: &Place, flags: &[S], program: &Program) -> Command {
    let mut command = apart::kinject();
    command
        .arg("run")
        .args(place.flags())
        .args(flags)
        .arg("--")
        .arg(&program.path)
        .args(&program.arguments);
    command
}

/// `kinject shell`.
pub fn kinject_shell(place: &Place) -> Command {
    let mut command = apart::kinject();
    command.arg("shell").args(place.flags());
    command
}
