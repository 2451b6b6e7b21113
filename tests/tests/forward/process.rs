//! `kinject forward` as a process whose output is read line by line.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use kinject_tests::apart;
use kinject_tests::programs::Program;
use kinject_tests::running::{Outcome, run, spawn};
use kinject_tests::session::{eventually, relay_of};
use kinject_tests::testbed::Testbed;
use rustix::process::{Pid, Signal, kill_process};

/// How long a session may take to come up, a message to come, a session to end.
const TIMEOUT: Duration = Duration::from_secs(40);

/// `kinject forward`, which is killed when the value is dropped.
pub(crate) struct Forward {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

/// `kinject forward` in a testbed.
pub(crate) fn command(testbed: &Testbed, arguments: &[&str]) -> Command {
    let mut command = apart::kinject();
    command.arg("forward").args(testbed.flags()).args(arguments);
    command
}

impl Forward {
    /// Starts it in a testbed.
    pub(crate) fn start(testbed: &Testbed, arguments: &[&str]) -> Self {
        Self::of(command(testbed, arguments))
    }

    /// Starts this command.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = spawn(command.stdin(Stdio::null()));
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// The next line on standard output.
    pub(crate) fn printed(&self) -> String {
        match self.stdout.recv_timeout(TIMEOUT) {
            Ok(line) => line,
            Err(error) => panic!("nothing is printed ({error}): {:?}", self.rest_of_stderr()),
        }
    }

    /// Where the next forward listens.
    pub(crate) fn local(&self) -> SocketAddr {
        let line = self.printed();
        let address = line
            .strip_prefix("Forwarding ")
            .and_then(|rest| rest.split([' ', '/']).next());
        let address = address.and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| panic!("no line of a forward: {line:?}"))
    }

    /// The next line on standard error that contains these words.
    pub(crate) fn complains(&self, words: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.stderr.recv_timeout(left) {
                Ok(line) if line.contains(words) => return line,
                Ok(_) => {}
                Err(error) => panic!("no line with {words:?}: {error}"),
            }
        }
    }

    fn rest_of_stderr(&self) -> Vec<String> {
        self.stderr.try_iter().collect()
    }

    /// The launcher's process.
    pub(crate) fn launcher(&self) -> u32 {
        self.child.id()
    }

    /// The relay's process.
    pub(crate) fn relay(&self) -> u32 {
        relay_of(self.launcher()).expect("the relay runs")
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; returns the status and the remaining lines on standard error.
    pub(crate) fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let mut status = None;
        eventually("the end of kinject forward", TIMEOUT, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        (status.unwrap(), self.stderr.iter().collect())
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn interrupt(self) -> (ExitStatus, Vec<String>) {
        self.signal(Signal::INT);
        self.ended()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        // the session ends, unless it has
        let _gone = kill_process(Pid::from_child(&self.child), Signal::TERM).is_err();
        let _reaped = self.child.wait().is_ok();
    }
}

fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            // the test may be over
            let _unheard = line.is_err() || sender.send(line.unwrap_or_default()).is_err();
        }
    });
    lines
}

/// A loopback address that no other test listens at, for ports with numbers of their own.
pub(crate) fn own_address() -> String {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [high, low] = u16::try_from(std::process::id() % 65_000).unwrap().to_be_bytes();
    format!(
        "127.{}.{low}.{}",
        128 + high % 100,
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// curl outside of every session and past every proxy, with these arguments.
pub(crate) fn curl<A: AsRef<str>>(arguments: &[A]) -> Outcome {
    let program = Program::new("/usr/bin/curl")
        .args(["--silent", "--show-error", "--noproxy", "", "--max-time", "40"])
        .args(arguments.iter().map(|argument| argument.as_ref().to_owned()));
    run(&mut program.command())
}
