//! Connections once they are open: what comes through, how they end, and how many there can be.

use std::time::Duration;

use kinject_tests::on_both_places;
use kinject_tests::programs::{Program, python};
use kinject_tests::running::{Outcome, run, run_within};
use kinject_tests::scene::Scene;

use crate::targets::{agent, pod};

const ECHO: &str = "10.96.10.3";
const MANY: u64 = 200 << 20;

fn stream(scene: &Scene, case: &str) -> Outcome {
    scene.same(python("streams.py").args([case, ECHO]))
}

fn crowd(case: &str, host: &str, count: u32) -> Program {
    python("crowd.py").args([case, host, &count.to_string()])
}

/// A program that the bare truth need not be asked for.
fn injected(scene: &Scene, program: &Program) -> Outcome {
    run_within(&mut scene.injected(program), Duration::from_secs(90))
}

on_both_places! {
    fn a_greeting_comes_whole_and_then_the_end(scene: shared) {
        stream(scene, "greeting").prints("b'welcome\\n' b'' b''\n");
    }

    fn a_side_that_is_closed_leaves_the_other_open(scene: shared) {
        stream(scene, "half_close").prints("EPIPE\nb'100000 bytes\\n'\nb'0 bytes\\n'\n");
    }

    fn a_reset_is_a_reset(scene: shared) {
        stream(scene, "reset").prints("ECONNRESET\nb''\nEPIPE\nERR HUP\nECONNRESET\n");
    }

    fn a_reset_of_ones_own_hurts_nobody_else(scene: shared) {
        stream(scene, "own_reset");
    }

    fn bytes_come_back_as_they_went(scene: shared) {
        stream(scene, "echo").shows("300000 True\n");
    }

    fn a_peer_that_does_not_read_stops_its_own_connection_only(scene: shared) {
        stream(scene, "stalled").prints("stopped\nb'welcome\\n'\nb'still here'\n");
    }

    fn both_ends_know_whom_they_speak_with(scene: shared) {
        stream(scene, "names").prints("10.244.0 True\n('10.96.10.3', 7007)\nTrue AF_INET SOCK_STREAM\n");
    }

    fn connections_leave_from_the_agents_pod(scene: shared) {
        let seen = run(&mut scene.injected(&python("streams.py").args(["who", &pod(scene)])));
        seen.succeeded().prints(&format!("{}\n", agent(scene)));
    }

    fn options_are_the_programs(scene: shared) {
        stream(scene, "options");
    }

    fn a_connection_is_inherited(scene: shared) {
        stream(scene, "fork").prints("b'from the child'\nb''\n");
    }

    fn two_hundred_megabytes_come_back_whole(scene: shared) {
        let program = python("streams.py").args(["transfer", ECHO, &MANY.to_string()]);
        injected(scene, &program).succeeded().prints(&format!("{MANY} True\n"));
    }

    fn two_hundred_megabytes_go_up(scene: shared) {
        let program = python("streams.py").args(["upload", ECHO, &MANY.to_string()]);
        injected(scene, &program).succeeded().prints(&format!("b'{MANY} bytes\\n'\n"));
    }

    fn two_hundred_megabytes_come_down(scene: shared) {
        let program = python("streams.py").args(["download", ECHO, &MANY.to_string()]);
        injected(scene, &program).succeeded().prints("enough\n");
    }

    fn five_hundred_connections_at_once(scene: shared) {
        injected(scene, &crowd("at-once", ECHO, 500)).succeeded().prints("500 right\n");
    }

    fn two_thousand_connections_open_together(scene: shared) {
        injected(scene, &crowd("open", ECHO, 2000)).succeeded().prints("2000 right\n");
    }

    fn a_hundred_refusals_at_once_are_all_told(scene: shared) {
        injected(scene, &crowd("refused", &pod(scene), 100)).succeeded().prints("100 right\n");
    }

    fn an_event_loop_goes_on_while_peers_are_silent(scene: shared) {
        scene.same(crowd("responsive", ECHO, 20)).prints("the loop goes on: True True False\n");
    }
}
