//! A tunnel that breaks: open connections are reset, new ones wait for a new tunnel, and none goes to another network.

use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use kinject_tests::fixture::Fixture;
use kinject_tests::process;
use kinject_tests::programs::python;
use kinject_tests::running::{run, spawn};
use kinject_tests::session::{Session, eventually};
use kinject_tests::testbed::{Kind, Testbed};
use rustix::process::{Pid, Signal, kill_process};

use crate::namespace::TestNamespace;

/// The program that holds connections while the tunnel breaks, and its output.
struct Survivor {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Survivor {
    /// Starts it in a session and waits until its connections are open.
    fn start(session: &Session) -> Self {
        let program = python("survivor.py").arg("10.96.10.3");
        let mut command = session.command(&program.path);
        let mut child = spawn(command.args(&program.arguments).stdin(Stdio::null()));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut survivor = Self { child, lines };
        assert_eq!(survivor.line(), "open True");
        survivor
    }

    fn line(&mut self) -> String {
        self.lines
            .next()
            .map_or_else(|| "(nothing more)".to_owned(), Result::unwrap)
    }

    /// Asserts that both connections are reset and a new one works.
    fn survives(&mut self) {
        assert_eq!(self.line(), "busy ECONNRESET");
        assert_eq!(self.line(), "idle ECONNRESET");
        assert_eq!(self.line(), "again True 10.96.10.1");
        let status = self.child.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(0), None));
    }
}

impl Drop for Survivor {
    fn drop(&mut self) {
        // it has usually ended
        let _gone = self.child.kill().is_err();
        let _reaped = self.child.wait().is_ok();
    }
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

fn kill(process: u32) {
    kill_process(pid(process), Signal::KILL).unwrap();
}

/// The relay's TCP connections to the API server, as `ss` shows them: the ports at our end.
pub(crate) fn ports_to_api_server(relay: u32) -> Vec<String> {
    let listed = run(Command::new("ss").args(["-Htnp", "state", "established", "dst", "10.201.0.2"]));
    let of_relay = format!("pid={relay},");
    let lines = listed.stdout.lines().filter(|line| line.contains(&of_relay));
    let local = lines.filter_map(|line| {
        line.split_whitespace()
            .nth(2)?
            .rsplit(':')
            .next()
            .map(str::to_owned)
    });
    local.collect()
}

#[test]
fn restarted_agent_in_the_sandbox_is_connected_again() {
    let Some(fixture) = Fixture::new(Kind::Sandbox) else {
        return;
    };
    let mut survivor = Survivor::start(fixture.session());
    let agent = fixture.agent();
    // the sandbox takes an agent that lives for less than a second for a broken one
    eventually("an agent of some age", Duration::from_secs(5), || {
        process::age(agent) > Duration::from_secs(1)
    });
    kill(agent);
    survivor.survives();
}

#[test]
fn deleted_pod_is_replaced() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    for transport in ["proxy", "port-forward"] {
        let session = namespace.session(&["--transport", transport]);
        let mut survivor = Survivor::start(&session);
        let pod = namespace.pod();
        namespace
            .cluster
            .kubectl(&[
                "--namespace",
                namespace.name(),
                "delete",
                "pod",
                &pod,
                "--wait=false",
            ])
            .unwrap();
        survivor.survives();
        assert_eq!(namespace.made("jobs").len(), 1, "the Job of the old pod is gone");
        assert_eq!(session.end(), 0);
        namespace.becomes_clean();
    }
}

#[test]
fn killed_agent_is_replaced() {
    let Some(fixture) = Fixture::new(Kind::Cluster) else {
        return;
    };
    let mut survivor = Survivor::start(fixture.session());
    kill(fixture.agent());
    survivor.survives();
}

#[test]
fn broken_api_server_connection_is_reopened_to_the_same_pod() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    for transport in ["proxy", "port-forward"] {
        let session = namespace.session(&["--transport", transport]);
        let mut survivor = Survivor::start(&session);
        let pod = namespace.pod();
        let ports = ports_to_api_server(session.relay());
        assert!(!ports.is_empty());
        for port in ports {
            let killed = run(Command::new("ss").args(["-K", "dst", "10.201.0.2", "sport", "=", &port]));
            killed.succeeded();
        }
        survivor.survives();
        assert_eq!(namespace.pod(), pod);
        assert_eq!(session.end(), 0);
        namespace.becomes_clean();
    }
}

#[test]
fn silent_api_server_connection_is_detected() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let session = namespace.session(&[]);
    let mut survivor = Survivor::start(&session);
    let dropped: Vec<Dropped> = ports_to_api_server(session.relay())
        .into_iter()
        .map(Dropped::new)
        .collect();
    assert!(!dropped.is_empty());
    survivor.survives();
    drop(dropped);
    assert_eq!(session.end(), 0);
    namespace.becomes_clean();
}

/// Drops the packets of one connection while the value exists.
struct Dropped(String);

impl Dropped {
    fn new(port: String) -> Self {
        run(&mut Self::rule("-I", &port)).succeeded();
        Self(port)
    }

    fn rule(action: &str, port: &str) -> Command {
        let mut command = Command::new("iptables");
        command.args([
            "-w",
            action,
            "OUTPUT",
            "-d",
            "10.201.0.2",
            "-p",
            "tcp",
            "--sport",
            port,
            "-j",
            "DROP",
        ]);
        command
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        let removed = Self::rule("-D", &self.0).status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("a rule of iptables is left behind for port {}", self.0);
        }
    }
}

#[test]
fn calls_waiting_for_a_lost_tunnel_end_with_the_session() {
    let testbed = Testbed::open(Kind::Sandbox).expect("there is always a sandbox");
    let session = Session::start::<&str>(&testbed, &[]);
    let Testbed::Sandbox(sandbox) = testbed else {
        unreachable!("it was just asked for")
    };
    drop(sandbox);
    let program = python("clients.py").arg("10.244.0.21");
    let mut command = session.command(&program.path);
    let mut waiting = spawn(command.args(&program.arguments).stdin(Stdio::null()));
    assert_eq!(session.end(), 0);
    let mut status = None;
    eventually("the end of what waited", Duration::from_secs(20), || {
        status = waiting.try_wait().unwrap();
        status.is_some()
    });
}
