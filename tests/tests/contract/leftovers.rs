//! What programs give up leaves nothing behind, neither at the relay nor at the agent; what they said before they ended
//! is heard.

use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kinject_tests::on_both_places;
use kinject_tests::process::{lives, sockets};
use kinject_tests::programs::{c, python};
use kinject_tests::running::{Outcome, PATIENCE, finish, run, spawn};
use kinject_tests::scene::Scene;
use kinject_tests::session::{eventually, kinject_run, relay_of};
use rustix::process::{Pid, Signal, kill_process};

use crate::targets::{SILENT, agent};

/// The relay looks for sockets that were closed every second, and twice before it believes.
const NOTICED: Duration = Duration::from_secs(10);

/// How long a session may take to end after a program that left nothing to deliver. It takes half a second, and the rest is
/// for a machine that has more to do: a relay that hangs meanwhile gives up after 13 seconds and not before.
const ENDS: Duration = Duration::from_secs(12);

/// How many sockets relay and agent have while nothing is open, once both have seen a connection.
struct Rest {
    relay: u32,
    agent: u32,
    counts: (usize, usize),
}

impl Rest {
    fn of(scene: &Scene) -> Self {
        run(&mut scene.injected(&python("streams.py").arg("greeting"))).succeeded();
        let (relay, agent) = (scene.session().relay(), scene.agent());
        let mut before = (0, 0);
        // the connection of a moment ago is being cleared up
        eventually("a quiet relay and agent", NOTICED, || {
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

    fn is_left_again(&self, after: &str) {
        let mut counts = (0, 0);
        let what = format!(
            "as few sockets at relay and agent as before ({:?}), {after}",
            self.counts
        );
        eventually(&what, NOTICED, || {
            counts = self.counts();
            counts.0 <= self.counts.0 && counts.1 <= self.counts.1
        });
    }
}

/// A line, byte by byte: what follows is for whoever waits for the program's end.
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

/// A service in the agent's network, and its port; it stays until its input ends, if it has no better reason.
fn service(scene: &Scene, case: &str) -> (Child, String) {
    let program = python("testament.py").arg(case);
    let mut service = spawn(scene.bare(&program).stdin(Stdio::piped()));
    let port = line(service.stdout.as_mut().expect("it is captured"));
    (service, port)
}

fn dismiss(mut service: Child) {
    drop(service.stdin.take());
    finish(service, Instant::now(), "testament.py", PATIENCE).exited(0);
}

/// What one program hears of another that ends with its session.
fn testament(scene: &Scene, hear: &str, leave: &str) -> Outcome {
    let started = Instant::now();
    let (hearing, port) = service(scene, hear);
    let leave = python("testament.py").args([leave, &agent(scene), &port]);
    run(&mut kinject_run::<&str>(scene.place(), &[], &leave)).succeeded();
    finish(hearing, started, "testament.py", PATIENCE)
}

/// A service that reads nothing, and a kinject that has said that it waits for it.
fn filled(scene: &Scene) -> (Child, Child) {
    let (ignoring, port) = service(scene, "ignore");
    let fill = python("testament.py").args(["fill", &agent(scene), &port]);
    let mut kinject = spawn(kinject_run::<&str>(scene.place(), &[], &fill).stdin(Stdio::null()));
    let words = line(kinject.stderr.as_mut().expect("it is captured"));
    assert!(
        words.contains("sent before it ended is still on its way: 1 connection"),
        "{words}"
    );
    (ignoring, kinject)
}

/// The session ends soon after its program, which says what it says bare.
fn ends_soon(scene: &Scene, how: &str, target: [&str; 2]) {
    let program = python("given_up.py").args(target).arg(how);
    let bare = run(&mut scene.bare(&program));
    bare.succeeded();
    let mut kinject = spawn(kinject_run::<&str>(scene.place(), &[], &program).stdin(Stdio::null()));
    let output = kinject.stdout.as_mut().expect("it is captured");
    let said = [line(output), line(output)].join("\n") + "\n";
    assert_eq!(said, bare.stdout, "{how}");
    let ending = Instant::now();
    finish(kinject, ending, "kinject run", PATIENCE)
        .succeeded()
        .within(ENDS);
}

on_both_places! {
    /// The session ends with the program, and before its words have arrived.
    fn data_written_before_exit_is_delivered(scene: shared) {
        testament(scene, "hear", "leave").prints("6000000 bytes and the end\n50 datagrams\n");
    }

    fn datagrams_sent_before_exit_are_delivered(scene: shared) {
        testament(scene, "count", "send").prints("50 datagrams\n");
    }

    /// Neither a far end that says nothing nor a machine that goes down is waited for.
    fn relay_after_sigterm_waits_only_seconds_for_readers(scene: shared) {
        let (ignoring, kinject) = filled(scene);
        let started = Instant::now();
        let relay = relay_of(kinject.id()).expect("it waits, too");
        kill_process(Pid::from_raw(relay.cast_signed()).expect("a process"), Signal::TERM).expect("it lives");
        finish(kinject, started, "kinject run", PATIENCE).exited(0);
        assert!(!lives(relay));
        dismiss(ignoring);
    }

    fn session_end_does_not_wait_for_half_closed_connections(scene: shared) {
        let (staying, port) = service(scene, "outstay");
        let shut = python("testament.py").args(["shut", &agent(scene), &port]);
        let ended = run(&mut kinject_run::<&str>(scene.place(), &[], &shut));
        ended.succeeded();
        assert!(!ended.stderr.contains("still on its way"), "{ended}");
        dismiss(staying);
    }

    /// Whoever does not want to wait presses Ctrl-C, and whoever waits is told for what.
    fn session_end_waits_for_readers_until_ctrl_c(scene: shared) {
        let (ignoring, kinject) = filled(scene);
        let started = Instant::now();
        let relay = relay_of(kinject.id()).expect("it waits, too");
        kill_process(Pid::from_child(&kinject), Signal::INT).expect("it waits");
        finish(kinject, started, "kinject run", PATIENCE)
            .exited(0)
            .complains("not waiting for the cluster");
        assert!(lives(relay), "it goes on by itself");
        dismiss(ignoring);
        eventually("the relay's end", NOTICED, || !lives(relay));
    }

    fn session_ends_soon_after_an_abandoned_connect_to_a_silent_peer(scene: shared) {
        for how in ["blocking", "unfinished", "lingering"] {
            ends_soon(scene, how, SILENT);
        }
    }

    fn session_ends_soon_though_a_child_holds_a_name_server_connection(scene: shared) {
        ends_soon(scene, "heir", ["10.96.0.10", "53"]);
    }

    fn abandoned_connections_free_the_sockets_of_relay_and_agent(scene: alone) {
        if !kinject_tests::ordinary::may_look_into_relays() {
            return;
        }
        let rest = Rest::of(&scene);
        for _ in 0..10 {
            run(&mut scene.injected(&c("connects").arg("abandoned").args(SILENT))).succeeded();
        }
        run(&mut scene.injected(&python("crowd.py").args(["responsive", "10.96.10.3", "20"]))).succeeded();
        rest.is_left_again("after connects that were given up");

        let mut waiting = scene.injected(&c("connects").arg("blocking").args(SILENT));
        let mut waiting = spawn(waiting.stdin(Stdio::null()));
        eventually("a connect under way", NOTICED, || rest.counts().1 > rest.counts.1);
        waiting.kill().expect("it waits");
        waiting.wait().expect("it was killed");
        rest.is_left_again("after a program was killed in connect");

        run(&mut scene.injected(&python("crowd.py").args(["at-once", "10.96.10.3", "300"]))).succeeded();
        for case in ["reset", "own_reset", "half_close"] {
            run(&mut scene.injected(&python("streams.py").arg(case))).succeeded();
        }
        rest.is_left_again("after connections that ended in one way or another");
    }
}
