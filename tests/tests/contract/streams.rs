//! Established connections: data transfer, close and reset, and large numbers of connections.

use std::time::Duration;

use kinject_tests::fixture::Fixture;
use kinject_tests::on_both_testbeds;
use kinject_tests::programs::{Program, python};
use kinject_tests::running::{Outcome, run, run_within};

use crate::targets::{agent, pod};

const ECHO: &str = "10.96.10.3";
const MANY: u64 = 200 << 20;

fn stream(fixture: &Fixture, case: &str) -> Outcome {
    fixture.same(python("streams.py").args([case, ECHO]))
}

fn crowd(case: &str, host: &str, count: u32) -> Program {
    python("crowd.py").args([case, host, &count.to_string()])
}

/// A program that is run injected only, since its bare output is known.
fn injected(fixture: &Fixture, program: &Program) -> Outcome {
    run_within(&mut fixture.injected(program), Duration::from_secs(90))
}

on_both_testbeds! {
    fn greeting_arrives_complete_and_then_eof(fixture: shared) {
        stream(fixture, "greeting").prints("b'welcome\\n' b'' b''\n");
    }

    fn half_close_leaves_the_other_direction_open(fixture: shared) {
        stream(fixture, "half_close").prints("EPIPE\nb'100000 bytes\\n'\nb'0 bytes\\n'\n");
    }

    fn reset_by_the_peer_is_a_reset_for_the_program(fixture: shared) {
        stream(fixture, "reset").prints("ECONNRESET\nb''\nEPIPE\nERR HUP\nECONNRESET\n");
    }

    fn own_reset_leaves_other_connections_open(fixture: shared) {
        stream(fixture, "own_reset");
    }

    fn echoed_bytes_are_unchanged(fixture: shared) {
        stream(fixture, "echo").shows("300000 True\n");
    }

    fn peer_that_does_not_read_blocks_only_its_own_connection(fixture: shared) {
        stream(fixture, "stalled").prints("stopped\nb'welcome\\n'\nb'still here'\n");
    }

    fn both_ends_see_the_real_peer_address(fixture: shared) {
        stream(fixture, "names").prints("10.244.0 True\n('10.96.10.3', 7007)\nTrue AF_INET SOCK_STREAM\n");
    }

    fn connections_leave_from_the_agents_pod(fixture: shared) {
        let seen = run(&mut fixture.injected(&python("streams.py").args(["who", &pod(fixture)])));
        seen.succeeded().prints(&format!("{}\n", agent(fixture)));
    }

    fn socket_options_are_kept(fixture: shared) {
        stream(fixture, "options");
    }

    fn inherited_connection_works_in_a_child(fixture: shared) {
        stream(fixture, "fork").prints("b'from the child'\nb''\n");
    }

    fn two_hundred_megabytes_come_back_whole(fixture: shared) {
        let program = python("streams.py").args(["transfer", ECHO, &MANY.to_string()]);
        injected(fixture, &program).succeeded().prints(&format!("{MANY} True\n"));
    }

    fn two_hundred_megabytes_go_up(fixture: shared) {
        let program = python("streams.py").args(["upload", ECHO, &MANY.to_string()]);
        injected(fixture, &program).succeeded().prints(&format!("b'{MANY} bytes\\n'\n"));
    }

    fn two_hundred_megabytes_come_down(fixture: shared) {
        let program = python("streams.py").args(["download", ECHO, &MANY.to_string()]);
        injected(fixture, &program).succeeded().prints("enough\n");
    }

    fn five_hundred_concurrent_connections_succeed(fixture: shared) {
        injected(fixture, &crowd("at-once", ECHO, 500)).succeeded().prints("500 right\n");
    }

    fn two_thousand_connections_stay_open_together(fixture: shared) {
        injected(fixture, &crowd("open", ECHO, 2000)).succeeded().prints("2000 right\n");
    }

    fn hundred_concurrent_refusals_all_return_econnrefused(fixture: shared) {
        injected(fixture, &crowd("refused", &pod(fixture), 100)).succeeded().prints("100 right\n");
    }

    fn event_loop_continues_while_peers_are_silent(fixture: shared) {
        fixture.same(crowd("responsive", ECHO, 20)).prints("the loop goes on: True True False\n");
    }
}
