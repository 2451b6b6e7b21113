//! Signals that are sent to kinject are passed to the program.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use kinject_tests::process;
use kinject_tests::programs::{Program, python, shell};
use kinject_tests::running::spawn;
use kinject_tests::session::{eventually, kinject_run, relay_of};
use kinject_tests::testbed::shared_sandbox;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Added to the number of the signal that kinject died of.
const DIED_OF: i32 = 1000;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A program in a session, and the lines that it prints.
struct Running {
    kinject: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(program: &Program) -> Self {
        Self::start_with(program, Stdio::null())
    }

    fn start_with(program: &Program, input: Stdio) -> Self {
        let mut command = kinject_run::<&str>(shared_sandbox(), &[], program);
        let mut kinject = spawn(command.stdin(input));
        let stdout = BufReader::new(kinject.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // ends with the program's output, or when the receiver is dropped
        thread::spawn(move || {
            let mut lines = stdout.lines().map_while(Result::ok);
            lines.all(|line| sender.send(line).is_ok())
        });
        Self { kinject, lines }
    }

    fn line(&mut self) -> String {
        self.lines.recv_timeout(TIMEOUT).expect("one more line")
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.kinject), signal).unwrap();
    }

    fn code(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let kinject = &mut self.kinject;
        let mut status = None;
        eventually("the end of kinject", TIMEOUT, || {
            status = kinject.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap();
        status
            .code()
            .unwrap_or_else(|| DIED_OF + status.signal().unwrap())
    }

    /// The program: kinject's child that is not the relay.
    fn program(&self) -> u32 {
        let children = process::children(self.kinject.id());
        let relay = relay_of(self.kinject.id());
        children
            .into_iter()
            .find(|child| Some(*child) != relay)
            .expect("the program runs")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // both may have ended regularly
        let _gone = kill_process_group(Pid::from_child(&self.kinject), Signal::KILL).is_err();
        let _reaped = self.kinject.wait().is_ok();
    }
}

#[test]
fn each_signal_reaches_the_program_once() {
    let mut running = Running::start(&python("signals.py"));
    assert_eq!(running.line(), "ready");
    for (signal, name) in [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::WINCH, "SIGWINCH"),
        (Signal::TERM, "SIGTERM"),
    ] {
        running.send(signal);
        assert_eq!(running.line(), name);
    }
    assert_eq!(running.code(), 9);
}

#[test]
fn unhandled_signal_ends_the_program_and_kinject() {
    for (signal, number) in [(Signal::TERM, 15), (Signal::INT, 2), (Signal::HUP, 1)] {
        let mut running = Running::start(&shell("echo ready; exec sleep 1000"));
        assert_eq!(running.line(), "ready");
        running.send(signal);
        assert_eq!(running.code(), DIED_OF + number);
    }
}

#[test]
fn stopped_program_stops_kinject_and_both_continue() {
    let mut running = Running::start(&shell("echo ready; kill -STOP $$; echo on; exit 4"));
    assert_eq!(running.line(), "ready");
    let kinject = running.kinject.id();
    eventually("kinject stopped", TIMEOUT, || {
        process::state(kinject) == Some('T')
    });
    running.send(Signal::CONT);
    assert_eq!(running.line(), "on");
    assert_eq!(running.code(), 4);
}

#[test]
fn killing_kinject_ends_program_and_relay_and_removes_the_folder() {
    let mut running = Running::start(&shell("echo ready; echo $KINJECT_SOCKET; exec sleep 1000"));
    assert_eq!(running.line(), "ready");
    let socket = running.line();
    let (program, relay) = (
        running.program(),
        relay_of(running.kinject.id()).expect("the relay runs"),
    );
    running.send(Signal::KILL);
    running.kinject.wait().unwrap();
    eventually("the program's end", TIMEOUT, || !process::is_alive(program));
    eventually("the relay's end", TIMEOUT, || !process::is_alive(relay));
    let folder = std::path::Path::new(&socket).parent().unwrap();
    assert!(!folder.exists(), "{} is left", folder.display());
}

#[test]
fn a_killed_relay_leaves_the_program_running_without_the_cluster() {
    let ask = "echo ready; read line </dev/stdin; getent hosts web; echo $?; exit 5";
    let mut running = Running::start_with(&shell(ask), Stdio::piped());
    let input = running.kinject.stdin.take();
    assert_eq!(running.line(), "ready");
    let relay = relay_of(running.kinject.id()).expect("the relay runs");
    kill_process(Pid::from_raw(relay as i32).unwrap(), Signal::KILL).unwrap();
    eventually("the relay's end", TIMEOUT, || !process::is_alive(relay));
    drop(input);
    assert_eq!(running.line(), "2", "a name does not resolve without the relay");
    assert_eq!(running.code(), 5);
    let mut stderr = String::new();
    std::io::Read::read_to_string(running.kinject.stderr.as_mut().unwrap(), &mut stderr).unwrap();
    assert!(
        stderr.contains(
            "kinject: error: the relay was killed (signal 9): this session has no cluster any more"
        ) && stderr.contains("\n\nhint: "),
        "{stderr}"
    );
}

#[test]
fn ended_session_leaves_no_folder() {
    let mut running = Running::start(&shell("echo $KINJECT_SOCKET"));
    let socket = running.line();
    assert_eq!(running.code(), 0);
    let folder = std::path::Path::new(&socket).parent().unwrap();
    assert!(!folder.exists(), "{} is left", folder.display());
}
