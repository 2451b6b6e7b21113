//! connect(2) with every method of waiting, to peers that accept, refuse, cannot be reached, or are silent.

use kinject_tests::fixture::Fixture;
use kinject_tests::on_both_testbeds;
use kinject_tests::programs::{c, python};
use kinject_tests::running::Outcome;

use crate::targets::{GREETING, NAME_SERVER, OUTSIDE, SILENT, UNROUTABLE, WITHOUT_PODS, closed_port, pod};

fn connects(fixture: &Fixture, mode: &str, target: [&str; 2]) -> Outcome {
    fixture.same(c("connects").arg(mode).args(target))
}

/// To a closed port of a pod, which refuses by a reset.
fn refused(fixture: &Fixture, mode: &str) -> Outcome {
    let [address, port] = closed_port(fixture);
    connects(fixture, mode, [&address, &port])
}

on_both_testbeds! {
    fn blocking_connect_returns_0_or_econnrefused(fixture: shared) {
        connects(fixture, "blocking", GREETING).prints(
            "connect: 0\nSO_ERROR: 0\ngetpeername: 10.96.10.3 7005, 16 bytes\nreceived: welcome\n",
        );
        connects(fixture, "blocking", OUTSIDE).shows("getpeername: 203.0.113.10 7005");
        refused(fixture, "blocking").prints("connect: ECONNREFUSED\nSO_ERROR: 0\ngetpeername: ENOTCONN\n");
    }

    fn getsockname_after_connect_returns_the_pod_address(fixture: shared) {
        let own = connects(fixture, "own", GREETING);
        assert!(!own.stdout.contains("getsockname: 127."), "{own}");
        connects(fixture, "own", OUTSIDE);
    }

    fn getsockname_during_connect_returns_the_pod_address(fixture: shared) {
        let outcome = fixture.same(python("during_connect.py").args(SILENT));
        outcome.shows("connect: EINPROGRESS\nown address: ::ffff:").shows(" with a port\npeer: ENOTCONN\n");
        assert!(!outcome.stdout.contains("127."), "{outcome}");
    }

    fn socket_after_refused_connect_is_at_eof(fixture: shared) {
        let [address, port] = closed_port(fixture);
        let outcome = fixture.same(python("after_refusal.py").args([&address, &port]).args(GREETING).args(SILENT));
        outcome.shows("recv first: EINPROGRESS\nplace: ('own', True)\nrecv: ECONNREFUSED\n");
        outcome.shows("recv: b'' b''\nsend: EPIPE\n").shows("place: ('0.0.0.0', True)\n");
        outcome.shows("connect: ECONNABORTED\n").shows("recv: b'welcome\\n'\n");
    }

    fn connect_to_a_service_without_pods_returns_econnrefused(fixture: shared) {
        connects(fixture, "outcome", WITHOUT_PODS)
            .prints("connect: ECONNREFUSED\nwithout blocking: ECONNREFUSED\n");
    }

    fn connect_to_an_unroutable_address_returns_ehostunreach(fixture: shared) {
        connects(fixture, "outcome", UNROUTABLE)
            .prints("connect: EHOSTUNREACH\nwithout blocking: EHOSTUNREACH\n");
    }

    fn connect_to_a_pod_address_succeeds(fixture: shared) {
        let pod = pod(fixture);
        connects(fixture, "blocking", [&pod, "7005"]).shows("received: welcome\n");
    }

    fn epoll_registered_before_connect_reports_its_result(fixture: shared) {
        connects(fixture, "epoll", GREETING).shows("event: OUT\nconnected\n");
        refused(fixture, "epoll").shows("failed: ECONNREFUSED\n");
        connects(fixture, "epoll", SILENT).shows("nothing happens\nSO_ERROR: 0\n");
    }

    fn poll_reports_the_result_of_a_connect(fixture: shared) {
        connects(fixture, "poll", GREETING).shows("connected\n");
        refused(fixture, "poll").shows("failed: ECONNREFUSED\n");
        connects(fixture, "poll", SILENT).shows("connect again: EALREADY\n");
    }

    fn select_reports_the_result_of_a_connect(fixture: shared) {
        connects(fixture, "select", GREETING).shows("connected\n");
        refused(fixture, "select").shows("failed: ECONNREFUSED\n");
        connects(fixture, "select", SILENT).shows("nothing happens\n");
    }

    fn connect_past_so_sndtimeo_returns_einprogress(fixture: shared) {
        connects(fixture, "sndtimeo", GREETING).shows("received: welcome\n");
        refused(fixture, "sndtimeo").shows("connect: ECONNREFUSED\n");
        connects(fixture, "sndtimeo", SILENT).shows("connect: EINPROGRESS\n");
    }

    fn connect_interrupted_by_a_signal_returns_eintr(fixture: shared) {
        connects(fixture, "interrupted", SILENT).shows("connect: EINTR\n");
        connects(fixture, "interrupted", GREETING).shows("received: welcome\n");
        connects(fixture, "restarted", SILENT);
    }

    fn connect_after_a_failed_connect_succeeds(fixture: shared) {
        let closed = closed_port(fixture);
        for mode in ["reconnect", "reconnect-polled"] {
            let program = c("connects").arg(mode).args(&closed).args(GREETING);
            fixture.same(program).shows("received: welcome\n");
        }
    }

    fn second_connect_returns_the_result_of_the_first(fixture: shared) {
        connects(fixture, "second", GREETING).shows("second connect: 0\n");
        refused(fixture, "second").shows("second connect: ECONNREFUSED\n");
        connects(fixture, "second", SILENT).shows("connect again: EALREADY\n");
    }

    fn connect_on_a_once_connected_socket_returns_eisconn(fixture: shared) {
        let [address, port] = closed_port(fixture);
        let program = python("second_connect.py").arg(GREETING[0]).args([&address, &port]).arg(NAME_SERVER);
        let outcome = fixture.same(program);
        let never = "['EISCONN', 'EISCONN', 'EISCONN', 'EISCONN', 'EISCONN']";
        for when in ["connected", "to a name server", "shut down (1) and over", "closed by the far end", "reset by the far end"] {
            assert_eq!(outcome.stdout.matches(&format!("  {when}: {never}\n")).count(), 4, "{when}: {outcome}");
        }
        outcome.shows("  ['EINPROGRESS', 'ECONNREFUSED', 'EINPROGRESS'] b'welcome\\n'");
        outcome.shows("  1 ENOTCONN None False EPIPE ('10.96.10.3', 7000)\n");
    }

    fn concurrent_connects_of_one_socket_return_the_kernels_errnos(fixture: shared) {
        fixture.same(python("racing_connects.py").args(GREETING).arg("100")).prints("strange: []\n");
    }

    fn read_or_write_after_failed_connect_returns_econnrefused(fixture: shared) {
        let outcome = fixture.same(c("unasked").args(closed_port(fixture)));
        for call in ["read", "recvmsg", "write", "sendmsg"] {
            outcome.shows(&format!("{call}: ECONNREFUSED\n"));
        }
        fixture.same(c("unasked").args(SILENT)).shows("read: EAGAIN\n");
    }

    fn ipv6_socket_connects_to_a_mapped_address(fixture: shared) {
        connects(fixture, "mapped", GREETING).shows("getpeername: ::ffff:10.96.10.3 7005, 28 bytes\n");
        refused(fixture, "mapped").shows("connect: ECONNREFUSED\n");
    }

    fn connect_of_an_ipv6_only_socket_to_a_mapped_address_fails_as_bare(fixture: shared) {
        connects(fixture, "v6only", GREETING);
    }

    fn connect_in_a_child_connects_the_parents_socket(fixture: shared) {
        connects(fixture, "fork", GREETING).shows("received: welcome\n");
        refused(fixture, "fork").shows("failed: ECONNREFUSED\n");
    }

    fn connect_of_a_bound_socket_succeeds(fixture: shared) {
        connects(fixture, "bound", GREETING).shows("received: welcome\n");
        refused(fixture, "bound").shows("connect: ECONNREFUSED\n");
    }

    fn socket_dissolved_by_af_unspec_connects_again(fixture: shared) {
        connects(fixture, "dissolved", GREETING).shows("received: welcome\n");
    }

    fn misused_connect_returns_the_kernels_errno(fixture: shared) {
        connects(fixture, "misused", GREETING);
    }
}
