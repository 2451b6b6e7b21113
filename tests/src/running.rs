//! Running a program to its end or to its deadline, so that a program that hangs makes its test fail.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a program of a test may take unless the test says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The result of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What was run, for messages.
    pub command: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

/// Runs a command, with standard input empty unless it has another, within [`TIMEOUT`].
pub fn run(command: &mut Command) -> Outcome {
    run_within(command, TIMEOUT)
}

/// Runs a command to its end. Panics when that takes longer than `limit`.
pub fn run_within(command: &mut Command, limit: Duration) -> Outcome {
    let started = Instant::now();
    command.stdin(Stdio::null());
    finish(spawn(command), started, &describe(command), limit)
}

/// Resets ignored signals before the command starts: the parent of the tests may ignore some (nohup(1), a shell's `&`),
/// which every program would inherit.
pub(crate) fn ignore_no_signal(command: &mut Command) {
    let ignore_nothing = || {
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
            // SAFETY: SIG_DFL is no function that could be called, and these signals may all have it
            if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec signal(2) may be called (signal-safety(7)), and nothing else is
    unsafe { command.pre_exec(ignore_nothing) };
}

/// Starts a command with its output captured, in a process group of its own, with no signal ignored.
pub fn spawn(command: &mut Command) -> Child {
    ignore_no_signal(command);
    let spawned = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    spawned.unwrap_or_else(|error| panic!("cannot start {}: {error}", describe(command)))
}

/// Waits for the end of what [`spawn`] started.
pub fn finish(child: Child, started: Instant, what: &str, limit: Duration) -> Outcome {
    match finish_or_hang(child, started, what, limit) {
        Ok(outcome) => outcome,
        Err(Hang(words)) => panic!("{words}"),
    }
}

/// A description of a program that was killed because it took too long, with its output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hang(pub String);

/// The same for callers to whom a hang is a result.
pub fn finish_or_hang(child: Child, started: Instant, what: &str, limit: Duration) -> Result<Outcome, Hang> {
    let group = Pid::from_child(&child);
    let (ended, end) = mpsc::channel();
    let waiter = thread::spawn(move || {
        // the receiver is gone once the deadline has passed
        let _late = ended.send(child.wait_with_output()).is_err();
    });
    let left = limit.saturating_sub(started.elapsed());
    let output = match end.recv_timeout(left) {
        Ok(output) => output.unwrap_or_else(|error| panic!("cannot wait for {what}: {error}")),
        Err(_) => {
            // the group may have ended at this moment
            let _gone = kill_process_group(group, Signal::KILL).is_err();
            let said = end.recv_timeout(Duration::from_secs(5)).ok().and_then(Result::ok);
            return Err(Hang(format!(
                "{what} hangs: not done after {} s\n{}",
                limit.as_secs(),
                output_before(said)
            )));
        }
    };
    waiter.join().expect("the waiter never panics");
    Ok(Outcome {
        command: what.to_owned(),
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: started.elapsed(),
    })
}

/// The command as one line.
pub fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

fn output_before(output: Option<Output>) -> String {
    match output {
        Some(output) => format!(
            "before it was killed it said:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        None => "its children keep its output open".to_owned(),
    }
}

impl Outcome {
    /// The exit code, or 128 and the signal's number.
    pub fn code(&self) -> i32 {
        let killed = || self.status.signal().map(|signal| 128 + signal);
        self.status.code().or_else(killed).unwrap_or(-1)
    }

    /// Asserts that it ended with status 0.
    #[track_caller]
    pub fn succeeded(&self) -> &Self {
        self.exited(0)
    }

    /// Asserts that it ended with that status.
    #[track_caller]
    pub fn exited(&self, code: i32) -> &Self {
        assert_eq!(self.code(), code, "{self}");
        self
    }

    /// Asserts that it printed this somewhere.
    #[track_caller]
    pub fn shows(&self, part: &str) -> &Self {
        assert!(self.stdout.contains(part), "{part:?} is missing: {self}");
        self
    }

    /// Asserts that it printed exactly this.
    #[track_caller]
    pub fn prints(&self, text: &str) -> &Self {
        assert_eq!(self.stdout, text, "{self}");
        self
    }

    /// Asserts that standard error contains this.
    #[track_caller]
    pub fn complains(&self, part: &str) -> &Self {
        assert!(self.stderr.contains(part), "{part:?} is missing: {self}");
        self
    }

    /// Asserts that it took no longer.
    #[track_caller]
    pub fn within(&self, limit: Duration) -> &Self {
        assert!(self.took <= limit, "too slow, {:?}: {self}", self.took);
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`{}` ended with {} after {:.2} s\n--- stdout\n{}\n--- stderr\n{}",
            self.command,
            self.status,
            self.took.as_secs_f32(),
            self.stdout,
            self.stderr
        )
    }
}
