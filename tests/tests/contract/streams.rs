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
    fn greeting_arrives_complete_and_then_eof(scene: shared) {
        stream(scene, "greeting").prints("b'welcome\\n' b'' b''\n");
    }

    fn half_close_leaves_the_other_direction_open(scene: shared) {
        stream(scene, "half_close").prints("EPIPE\nb'100000 bytes\\n'\nb'0 bytes\\n'\n");
    }

    fn reset_by_the_peer_is_a_reset_for_the_program(scene: shared) {
        stream(scene, "reset").prints("ECONNRESET\nb''\nEPIPE\nERR HUP\nECONNRESET\n");
    }

    fn own_reset_leaves_other_connections_open(scene: shared) {
        stream(scene, "own_reset");
    }

    fn echoed_bytes_are_unchanged(scene: shared) {
        stream(scene, "echo").shows("300000 True\n");
    }

    fn peer_that_does_not_read_blocks_only_its_own_connection(scene: shared) {
        stream(scene, "stalled").prints("stopped\nb'welcome\\n'\nb'still here'\n");
    }

    fn both_ends_see_the_real_peer_address(scene: shared) {
        stream(scene, "names").prints("10.244.0 True\n('10.96.10.3', 7007)\nTrue AF_INET SOCK_STREAM\n");
    }

    fn connections_leave_from_the_agents_pod(scene: shared) {
        let seen = run(&mut scene.injected(&python("streams.py").args(["who", &pod(scene)])));
        seen.succeeded().prints(&format!("{}\n", agent(scene)));
    }

    fn socket_options_are_kept(scene: shared) {
        stream(scene, "options");
    }

    fn inherited_connection_works_in_a_child(scene: shared) {
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

    fn five_hundred_concurrent_connections_succeed(scene: shared) {
        injected(scene, &crowd("at-once", ECHO, 500)).succeeded().prints("500 right\n");
    }

    fn two_thousand_connections_stay_open_together(scene: shared) {
        injected(scene, &crowd("open", ECHO, 2000)).succeeded().prints("2000 right\n");
    }

    fn hundred_concurrent_refusals_all_return_econnrefused(scene: shared) {
        injected(scene, &crowd("refused", &pod(scene), 100)).succeeded().prints("100 right\n");
    }

    fn event_loop_continues_while_peers_are_silent(scene: shared) {
        scene.same(crowd("responsive", ECHO, 20)).prints("the loop goes on: True True False\n");
    }
}
