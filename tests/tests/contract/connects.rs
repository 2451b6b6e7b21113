//! connect(2) in every way that programs know, to peers that answer, refuse, cannot be reached, or are silent.

use kinject_tests::on_both_places;
use kinject_tests::programs::{c, python};
use kinject_tests::running::Outcome;
use kinject_tests::scene::Scene;

use crate::targets::{GREETING, NAME_SERVER, OUTSIDE, SILENT, UNROUTABLE, WITHOUT_PODS, closed_port, pod};

fn connects(scene: &Scene, way: &str, target: [&str; 2]) -> Outcome {
    scene.same(c("connects").arg(way).args(target))
}

/// To a pod's port on which nobody listens, which refuses by a reset.
fn refused(scene: &Scene, way: &str) -> Outcome {
    let [address, port] = closed_port(scene);
    connects(scene, way, [&address, &port])
}

on_both_places! {
    fn a_blocking_connect(scene: shared) {
        connects(scene, "blocking", GREETING).prints(
            "connect: 0\nSO_ERROR: 0\ngetpeername: 10.96.10.3 7005, 16 bytes\nreceived: welcome\n",
        );
        connects(scene, "blocking", OUTSIDE).shows("getpeername: 203.0.113.10 7005");
        refused(scene, "blocking").prints("connect: ECONNREFUSED\nSO_ERROR: 0\ngetpeername: ENOTCONN\n");
    }

    fn the_own_address_is_the_pods(scene: shared) {
        let own = connects(scene, "own", GREETING);
        assert!(!own.stdout.contains("getsockname: 127."), "{own}");
        connects(scene, "own", OUTSIDE);
    }

    fn the_own_address_is_the_pods_before_anybody_answers(scene: shared) {
        let told = scene.same(python("on_the_way.py").args(SILENT));
        told.shows("connect: EINPROGRESS\nown address: ::ffff:").shows(" with a port\npeer: ENOTCONN\n");
        assert!(!told.stdout.contains("127."), "{told}");
    }

    fn a_socket_whose_connect_was_refused_is_at_its_end(scene: shared) {
        let [address, port] = closed_port(scene);
        let told = scene.same(python("after_refusal.py").args([&address, &port]).args(GREETING).args(SILENT));
        told.shows("recv first: EINPROGRESS\nplace: ('own', True)\nrecv: ECONNREFUSED\n");
        told.shows("recv: b'' b''\nsend: EPIPE\n").shows("place: ('0.0.0.0', True)\n");
        told.shows("connect: ECONNABORTED\n").shows("recv: b'welcome\\n'\n");
    }

    fn a_service_without_pods_refuses(scene: shared) {
        connects(scene, "outcome", WITHOUT_PODS)
            .prints("connect: ECONNREFUSED\nwithout blocking: ECONNREFUSED\n");
    }

    fn an_address_without_a_route_is_unreachable(scene: shared) {
        connects(scene, "outcome", UNROUTABLE)
            .prints("connect: EHOSTUNREACH\nwithout blocking: EHOSTUNREACH\n");
    }

    fn a_pod_by_its_address(scene: shared) {
        let pod = pod(scene);
        connects(scene, "blocking", [&pod, "7005"]).shows("received: welcome\n");
    }

    fn an_edge_triggered_connect_that_is_registered_before(scene: shared) {
        connects(scene, "epoll", GREETING).shows("event: OUT\nconnected\n");
        refused(scene, "epoll").shows("failed: ECONNREFUSED\n");
        connects(scene, "epoll", SILENT).shows("nothing happens\nSO_ERROR: 0\n");
    }

    fn a_polled_connect(scene: shared) {
        connects(scene, "poll", GREETING).shows("connected\n");
        refused(scene, "poll").shows("failed: ECONNREFUSED\n");
        connects(scene, "poll", SILENT).shows("connect again: EALREADY\n");
    }

    fn a_selected_connect(scene: shared) {
        connects(scene, "select", GREETING).shows("connected\n");
        refused(scene, "select").shows("failed: ECONNREFUSED\n");
        connects(scene, "select", SILENT).shows("nothing happens\n");
    }

    fn a_connect_with_the_sockets_own_time_out(scene: shared) {
        connects(scene, "sndtimeo", GREETING).shows("received: welcome\n");
        refused(scene, "sndtimeo").shows("connect: ECONNREFUSED\n");
        connects(scene, "sndtimeo", SILENT).shows("connect: EINPROGRESS\n");
    }

    fn a_connect_that_a_signal_interrupts(scene: shared) {
        connects(scene, "interrupted", SILENT).shows("connect: EINTR\n");
        connects(scene, "interrupted", GREETING).shows("received: welcome\n");
        connects(scene, "restarted", SILENT);
    }

    fn a_socket_that_is_connected_again_after_a_failure(scene: shared) {
        let closed = closed_port(scene);
        for way in ["reconnect", "reconnect-polled"] {
            let program = c("connects").arg(way).args(&closed).args(GREETING);
            scene.same(program).shows("received: welcome\n");
        }
    }

    fn a_second_connect_asks_how_the_first_one_went(scene: shared) {
        connects(scene, "second", GREETING).shows("second connect: 0\n");
        refused(scene, "second").shows("second connect: ECONNREFUSED\n");
        connects(scene, "second", SILENT).shows("connect again: EALREADY\n");
    }

    fn a_socket_that_is_connected_or_was_is_connected_no_second_time(scene: shared) {
        let [address, port] = closed_port(scene);
        let program = python("second_connect.py").arg(GREETING[0]).args([&address, &port]).arg(NAME_SERVER);
        let told = scene.same(program);
        let never = "['EISCONN', 'EISCONN', 'EISCONN', 'EISCONN', 'EISCONN']";
        for when in ["connected", "to a name server", "shut down (1) and over", "closed by the far end", "reset by the far end"] {
            assert_eq!(told.stdout.matches(&format!("  {when}: {never}\n")).count(), 4, "{when}: {told}");
        }
        told.shows("  ['EINPROGRESS', 'ECONNREFUSED', 'EINPROGRESS'] b'welcome\\n'");
        told.shows("  1 ENOTCONN None False EPIPE ('10.96.10.3', 7000)\n");
    }

    fn threads_that_connect_one_socket_at_once_hear_what_a_kernel_says(scene: shared) {
        scene.same(python("racing_connects.py").args(GREETING).arg("100")).prints("strange: []\n");
    }

    fn a_failed_connect_that_nobody_asks_about_is_told_by_what_reads_or_writes(scene: shared) {
        let outcome = scene.same(c("unasked").args(closed_port(scene)));
        for call in ["read", "recvmsg", "write", "sendmsg"] {
            outcome.shows(&format!("{call}: ECONNREFUSED\n"));
        }
        scene.same(c("unasked").args(SILENT)).shows("read: EAGAIN\n");
    }

    fn an_ipv6_socket_with_a_mapped_address(scene: shared) {
        connects(scene, "mapped", GREETING).shows("getpeername: ::ffff:10.96.10.3 7005, 28 bytes\n");
        refused(scene, "mapped").shows("connect: ECONNREFUSED\n");
    }

    fn an_ipv6_socket_that_does_not_take_mapped_addresses(scene: shared) {
        connects(scene, "v6only", GREETING);
    }

    fn a_connect_by_a_child_is_its_parents(scene: shared) {
        connects(scene, "fork", GREETING).shows("received: welcome\n");
        refused(scene, "fork").shows("failed: ECONNREFUSED\n");
    }

    fn a_bound_socket(scene: shared) {
        connects(scene, "bound", GREETING).shows("received: welcome\n");
        refused(scene, "bound").shows("connect: ECONNREFUSED\n");
    }

    fn a_connection_that_is_dissolved(scene: shared) {
        connects(scene, "dissolved", GREETING).shows("received: welcome\n");
    }

    fn a_misused_connect(scene: shared) {
        connects(scene, "misused", GREETING);
    }
}
