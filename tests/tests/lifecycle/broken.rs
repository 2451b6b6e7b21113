//! A tunnel that breaks: open connections are reset, new ones wait until there is another, nothing goes elsewhere.

use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use kinject_tests::place::{Kind, Place};
use kinject_tests::process;
use kinject_tests::programs::{python, shell};
use kinject_tests::running::{run, spawn};
use kinject_tests::scene::Scene;
use kinject_tests::session::{Session, eventually, relay_of};
use rustix::process::{Pid, Signal, kill_process};

use crate::namespace::Home;

/// The program that keeps connections over the break, and what it says.
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

    /// Asserts that both connections are reset and a new one serves.
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
        // it has mostly ended
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
fn ports_to_api_server(relay: u32) -> Vec<String> {
    let listed = run(Command::new("ss").args(["-Htnp", "state", "established", "dst", "10.201.0.2"]));
    let ours = format!("pid={relay},");
    let lines = listed.stdout.lines().filter(|line| line.contains(&ours));
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
fn an_agent_that_dies_in_the_sandbox_is_found_again() {
    let Some(scene) = Scene::new(Kind::Sandbox) else {
        return;
    };
    let mut survivor = Survivor::start(scene.session());
    let agent = scene.agent();
    // one that lives for less than a second counts as broken there
    eventually("an agent of some age", Duration::from_secs(5), || {
        process::age(agent) > Duration::from_secs(1)
    });
    kill(agent);
    survivor.survives();
}

#[test]
fn a_pod_that_is_deleted_is_replaced() {
    let Some(home) = Home::new() else { return };
    for transport in ["proxy", "port-forward"] {
        let session = home.session(&["--transport", transport]);
        let mut survivor = Survivor::start(&session);
        let pod = home.pod();
        home.cluster
            .kubectl(&["--namespace", home.name(), "delete", "pod", &pod, "--wait=false"])
            .unwrap();
        survivor.survives();
        assert_eq!(home.made("jobs").len(), 1, "the Job of the old pod is gone");
        assert_eq!(session.end(), 0);
        home.becomes_clean();
    }
}

#[test]
fn a_job_that_is_deleted_is_replaced() {
    let Some(home) = Home::new() else { return };
    let session = home.session(&[]);
    let mut survivor = Survivor::start(&session);
    let job = home.made("jobs")[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    home.cluster
        .kubectl(&["--namespace", home.name(), "delete", "job", &job, "--wait=false"])
        .unwrap();
    survivor.survives();
    assert_eq!(session.end(), 0);
    home.becomes_clean();
}

#[test]
fn a_killed_agent_is_replaced() {
    let Some(scene) = Scene::new(Kind::Cluster) else {
        return;
    };
    let mut survivor = Survivor::start(scene.session());
    kill(scene.agent());
    survivor.survives();
}

#[test]
fn a_connection_to_the_api_server_that_breaks_is_opened_again_to_the_same_pod() {
    let Some(home) = Home::new() else { return };
    for transport in ["proxy", "port-forward"] {
        let session = home.session(&["--transport", transport]);
        let mut survivor = Survivor::start(&session);
        let pod = home.pod();
        let ports = ports_to_api_server(session.relay());
        assert!(!ports.is_empty());
        for port in ports {
            let killed = run(Command::new("ss").args(["-K", "dst", "10.201.0.2", "sport", "=", &port]));
            killed.succeeded();
        }
        survivor.survives();
        assert_eq!(home.pod(), pod);
        assert_eq!(session.end(), 0);
        home.becomes_clean();
    }
}

/// A `kinject run` that tells its user of everything, and lives until its input ends.
struct Told {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Told {
    fn start(home: &Home) -> Self {
        let mut command = home.kinject(&[], &shell("echo up >&2; cat"));
        let mut child = spawn(command.stdin(Stdio::piped()));
        let (sender, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines() {
                // the test may be over
                let _unheard = sender.send(line.unwrap()).is_err();
            }
        });
        let told = Self { child, lines };
        told.line("up");
        told
    }

    /// The next line that contains these words.
    fn line(&self, words: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|error| panic!("no line with {words:?}: {error}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    fn relay(&self) -> u32 {
        relay_of(self.child.id()).expect("its relay runs")
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn the_user_is_told_of_a_new_agent_and_what_became_of_the_old_one() {
    let Some(home) = Home::new() else { return };
    let told = Told::start(&home);
    let old = home.pod();
    let namespace = ["--namespace", home.name()];
    let delete = ["delete", "pod", &old, "--grace-period=0", "--force"];
    // the session does not look for the pod while it is on its way out
    kill_process(pid(told.relay()), Signal::STOP).unwrap();
    home.cluster.kubectl(&[&namespace[..], &delete].concat()).unwrap();
    eventually("the pod is gone", Duration::from_secs(20), || {
        let get = ["get", "pod", &old, "--ignore-not-found"];
        home.cluster
            .kubectl(&[&namespace[..], &get].concat())
            .unwrap()
            .is_empty()
    });
    kill_process(pid(told.relay()), Signal::CONT).unwrap();
    told.line("lost the connection to the agent");
    let line = told.line("connected again after");
    let new = home.made("pods").into_iter().find(|pod| {
        let name = pod["metadata"]["name"].as_str().unwrap();
        name != old && line.contains(&format!("to a new agent (pod {name})"))
    });
    assert!(new.is_some(), "{line}");
    assert!(line.ends_with("because the old one's pod was deleted"), "{line}");
    told.end();
    home.becomes_clean();
}

#[test]
fn the_user_is_told_that_the_agent_is_still_the_same() {
    let Some(home) = Home::new() else { return };
    let told = Told::start(&home);
    for port in ports_to_api_server(told.relay()) {
        run(Command::new("ss").args(["-K", "dst", "10.201.0.2", "sport", "=", &port])).succeeded();
    }
    let line = told.line("connected again after");
    assert!(
        line.ends_with(&format!("to the same agent (pod {})", home.pod())),
        "{line}"
    );
    told.end();
    home.becomes_clean();
}

#[test]
fn a_connection_to_the_api_server_that_falls_silent_is_noticed() {
    let Some(home) = Home::new() else { return };
    let session = home.session(&[]);
    let mut survivor = Survivor::start(&session);
    let dropped: Vec<Dropped> = ports_to_api_server(session.relay())
        .into_iter()
        .map(Dropped::new)
        .collect();
    assert!(!dropped.is_empty());
    survivor.survives();
    drop(dropped);
    assert_eq!(session.end(), 0);
    home.becomes_clean();
}

/// Packets of one connection that are dropped while the value lives.
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
fn what_waits_for_a_tunnel_that_does_not_come_back_ends_with_the_session() {
    let place = Place::open(Kind::Sandbox).expect("there is always a sandbox");
    let session = Session::start::<&str>(&place, &[]);
    let Place::Sandbox(sandbox) = place else {
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
