//! Abandoned connections leave no sockets at relay and agent; data that programs wrote before they ended is delivered.

use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kinject_tests::fixture::Fixture;
use kinject_tests::on_both_testbeds;
use kinject_tests::process::{is_alive, sockets};
use kinject_tests::programs::{c, python};
use kinject_tests::running::{Outcome, TIMEOUT, finish, run, spawn};
use kinject_tests::session::{eventually, kinject_run, relay_of};
use rustix::process::{Pid, Signal, kill_process};

use crate::targets::{SILENT, agent};

/// The relay looks for closed sockets every second, and acts after the second look.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a session may take to end after a program that left nothing to deliver. It takes half a second on an idle
/// machine; a relay that waits in vain gives up after 13 seconds and not before.
const SESSION_END_TIMEOUT: Duration = Duration::from_secs(12);

/// How many sockets relay and agent have while nothing is open, once both have seen a connection.
struct IdleSockets {
    relay: u32,
    agent: u32,
    counts: (usize, usize),
}

impl IdleSockets {
    fn of(fixture: &Fixture) -> Self {
        run(&mut fixture.injected(&python("streams.py").arg("greeting"))).succeeded();
        let (relay, agent) = (fixture.session().relay(), fixture.agent());
        let mut before = (0, 0);
        // the relay and the agent still close the last connection
        eventually("a quiet relay and agent", CLEANUP_TIMEOUT, || {
            let counts = (sockets(relay), sockets(agent));
            let same = counts == before;
            before = counts;
            same
        });
        Self {
            relay,
            agent,
            counts: before,
        }
    }

    fn counts(&self) -> (usize, usize) {
        (sockets(self.relay), sockets(self.agent))
    }

    fn is_reached_again(&self, after: &str) {
        let mut counts = (0, 0);
        let what = format!(
            "as few sockets at relay and agent as before ({:?}), {after}",
            self.counts
        );
        eventually(&what, CLEANUP_TIMEOUT, || {
            counts = self.counts();
            counts.0 <= self.counts.0 && counts.1 <= self.counts.1
        });
    }
}

/// Reads a line byte by byte, so that the rest stays for `finish`.
fn line(output: &mut impl Read) -> String {
    let (mut line, mut byte) = (String::new(), [0]);
    loop {
        output.read_exact(&mut byte).expect("it says a line");
        match byte[0] {
            b'\n' => return line,
            other => line.push(char::from(other)),
        }
    }
}

/// A service in the agent's network, and its port; it ends after its task, or with its input.
fn service(fixture: &Fixture, case: &str) -> (Child, String) {
    let program = python("data_at_exit.py").arg(case);
    let mut service = spawn(fixture.bare(&program).stdin(Stdio::piped()));
    let port = line(service.stdout.as_mut().expect("it is captured"));
    (service, port)
}

fn stop(mut service: Child) {
    drop(service.stdin.take());
    finish(service, Instant::now(), "data_at_exit.py", TIMEOUT).exited(0);
}

/// What a receiver gets from a program that ends with its session.
fn deliver_at_exit(fixture: &Fixture, hear: &str, leave: &str) -> Outcome {
    let started = Instant::now();
    let (receiver, port) = service(fixture, hear);
    let leave = python("data_at_exit.py").args([leave, &agent(fixture), &port]);
    run(&mut kinject_run::<&str>(fixture.testbed(), &[], &leave)).succeeded();
    finish(receiver, started, "data_at_exit.py", TIMEOUT)
}

/// A service that reads nothing, and a kinject that has reported that it waits for it.
fn filled(fixture: &Fixture) -> (Child, Child) {
    let (ignoring, port) = service(fixture, "ignore");
    let fill = python("data_at_exit.py").args(["fill", &agent(fixture), &port]);
    let mut kinject = spawn(kinject_run::<&str>(fixture.testbed(), &[], &fill).stdin(Stdio::null()));
    let words = line(kinject.stderr.as_mut().expect("it is captured"));
    assert!(
        words.contains("sent before it ended is still on its way: 1 connection"),
        "{words}"
    );
    (ignoring, kinject)
}

/// Asserts that the session ends soon after its program, whose output is the same as bare.
fn session_ends_soon(fixture: &Fixture, how: &str, target: [&str; 2]) {
    let program = python("abandoned_connect.py").args(target).arg(how);
    let bare = run(&mut fixture.bare(&program));
    bare.succeeded();
    let mut kinject = spawn(kinject_run::<&str>(fixture.testbed(), &[], &program).stdin(Stdio::null()));
    let output = kinject.stdout.as_mut().expect("it is captured");
    let printed = [line(output), line(output)].join("\n") + "\n";
    assert_eq!(printed, bare.stdout, "{how}");
    let ending = Instant::now();
    finish(kinject, ending, "kinject run", TIMEOUT)
        .succeeded()
        .within(SESSION_END_TIMEOUT);
}

on_both_testbeds! {
    /// The program ends before the service has received its data.
    fn data_written_before_exit_is_delivered(fixture: shared) {
        deliver_at_exit(fixture, "hear", "leave").prints("6000000 bytes and the end\n50 datagrams\n");
    }

    fn datagrams_sent_before_exit_are_delivered(fixture: shared) {
        deliver_at_exit(fixture, "count", "send").prints("50 datagrams\n");
    }

    /// A shutdown of the machine must not wait for a peer that does not read.
    fn relay_after_sigterm_waits_only_seconds_for_readers(fixture: shared) {
        let (ignoring, kinject) = filled(fixture);
        let started = Instant::now();
        let relay = relay_of(kinject.id()).expect("it waits, too");
        kill_process(Pid::from_raw(relay.cast_signed()).expect("a process"), Signal::TERM).expect("it lives");
        finish(kinject, started, "kinject run", TIMEOUT).exited(0);
        assert!(!is_alive(relay));
        stop(ignoring);
    }

    fn session_end_does_not_wait_for_half_closed_connections(fixture: shared) {
        let (staying, port) = service(fixture, "outstay");
        let shut = python("data_at_exit.py").args(["shut", &agent(fixture), &port]);
        let ended = run(&mut kinject_run::<&str>(fixture.testbed(), &[], &shut));
        ended.succeeded();
        assert!(!ended.stderr.contains("still on its way"), "{ended}");
        stop(staying);
    }

    /// A message says what the session waits for, and Ctrl-C ends the wait.
    fn session_end_waits_for_readers_until_ctrl_c(fixture: shared) {
        let (ignoring, kinject) = filled(fixture);
        let started = Instant::now();
        let relay = relay_of(kinject.id()).expect("it waits, too");
        kill_process(Pid::from_child(&kinject), Signal::INT).expect("it waits");
        finish(kinject, started, "kinject run", TIMEOUT)
            .exited(0)
            .complains("not waiting for the cluster");
        assert!(is_alive(relay), "it goes on by itself");
        stop(ignoring);
        eventually("the relay's end", CLEANUP_TIMEOUT, || !is_alive(relay));
    }

    fn session_ends_soon_after_an_abandoned_connect_to_a_silent_peer(fixture: shared) {
        for how in ["blocking", "unfinished", "lingering"] {
            session_ends_soon(fixture, how, SILENT);
        }
    }

    fn session_ends_soon_though_a_child_holds_a_name_server_connection(fixture: shared) {
        session_ends_soon(fixture, "heir", ["10.96.0.10", "53"]);
    }

    fn abandoned_connections_free_the_sockets_of_relay_and_agent(fixture: alone) {
        if !kinject_tests::ordinary::may_look_into_relays() {
            return;
        }
        let idle = IdleSockets::of(&fixture);
        for _ in 0..10 {
            run(&mut fixture.injected(&c("connects").arg("abandoned").args(SILENT))).succeeded();
        }
        run(&mut fixture.injected(&python("crowd.py").args(["responsive", "10.96.10.3", "20"]))).succeeded();
        idle.is_reached_again("after connects that were given up");

        let mut waiting = fixture.injected(&c("connects").arg("blocking").args(SILENT));
        let mut waiting = spawn(waiting.stdin(Stdio::null()));
        eventually("a connect under way", CLEANUP_TIMEOUT, || idle.counts().1 > idle.counts.1);
        waiting.kill().expect("it waits");
        waiting.wait().expect("it was killed");
        idle.is_reached_again("after a program was killed in connect");

        run(&mut fixture.injected(&python("crowd.py").args(["at-once", "10.96.10.3", "300"]))).succeeded();
        for case in ["reset", "own_reset", "half_close"] {
            run(&mut fixture.injected(&python("streams.py").arg(case))).succeeded();
        }
        idle.is_reached_again("after connections that ended in one way or another");
    }
}
