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
    fn blocking_connect_returns_0_or_econnrefused(scene: shared) {
        connects(scene, "blocking", GREETING).prints(
            "connect: 0\nSO_ERROR: 0\ngetpeername: 10.96.10.3 7005, 16 bytes\nreceived: welcome\n",
        );
        connects(scene, "blocking", OUTSIDE).shows("getpeername: 203.0.113.10 7005");
        refused(scene, "blocking").prints("connect: ECONNREFUSED\nSO_ERROR: 0\ngetpeername: ENOTCONN\n");
    }

    fn getsockname_after_connect_returns_the_pod_address(scene: shared) {
        let own = connects(scene, "own", GREETING);
        assert!(!own.stdout.contains("getsockname: 127."), "{own}");
        connects(scene, "own", OUTSIDE);
    }

    fn getsockname_during_connect_returns_the_pod_address(scene: shared) {
        let told = scene.same(python("on_the_way.py").args(SILENT));
        told.shows("connect: EINPROGRESS\nown address: ::ffff:").shows(" with a port\npeer: ENOTCONN\n");
        assert!(!told.stdout.contains("127."), "{told}");
    }

    fn socket_after_refused_connect_is_at_eof(scene: shared) {
        let [address, port] = closed_port(scene);
        let told = scene.same(python("after_refusal.py").args([&address, &port]).args(GREETING).args(SILENT));
        told.shows("recv first: EINPROGRESS\nplace: ('own', True)\nrecv: ECONNREFUSED\n");
        told.shows("recv: b'' b''\nsend: EPIPE\n").shows("place: ('0.0.0.0', True)\n");
        told.shows("connect: ECONNABORTED\n").shows("recv: b'welcome\\n'\n");
    }

    fn connect_to_a_service_without_pods_returns_econnrefused(scene: shared) {
        connects(scene, "outcome", WITHOUT_PODS)
            .prints("connect: ECONNREFUSED\nwithout blocking: ECONNREFUSED\n");
    }

    fn connect_to_an_unroutable_address_returns_ehostunreach(scene: shared) {
        connects(scene, "outcome", UNROUTABLE)
            .prints("connect: EHOSTUNREACH\nwithout blocking: EHOSTUNREACH\n");
    }

    fn connect_to_a_pod_address_succeeds(scene: shared) {
        let pod = pod(scene);
        connects(scene, "blocking", [&pod, "7005"]).shows("received: welcome\n");
    }

    fn epoll_registered_before_connect_reports_its_result(scene: shared) {
        connects(scene, "epoll", GREETING).shows("event: OUT\nconnected\n");
        refused(scene, "epoll").shows("failed: ECONNREFUSED\n");
        connects(scene, "epoll", SILENT).shows("nothing happens\nSO_ERROR: 0\n");
    }

    fn poll_reports_the_result_of_a_connect(scene: shared) {
        connects(scene, "poll", GREETING).shows("connected\n");
        refused(scene, "poll").shows("failed: ECONNREFUSED\n");
        connects(scene, "poll", SILENT).shows("connect again: EALREADY\n");
    }

    fn select_reports_the_result_of_a_connect(scene: shared) {
        connects(scene, "select", GREETING).shows("connected\n");
        refused(scene, "select").shows("failed: ECONNREFUSED\n");
        connects(scene, "select", SILENT).shows("nothing happens\n");
    }

    fn connect_past_so_sndtimeo_returns_einprogress(scene: shared) {
        connects(scene, "sndtimeo", GREETING).shows("received: welcome\n");
        refused(scene, "sndtimeo").shows("connect: ECONNREFUSED\n");
        connects(scene, "sndtimeo", SILENT).shows("connect: EINPROGRESS\n");
    }

    fn connect_interrupted_by_a_signal_returns_eintr(scene: shared) {
        connects(scene, "interrupted", SILENT).shows("connect: EINTR\n");
        connects(scene, "interrupted", GREETING).shows("received: welcome\n");
        connects(scene, "restarted", SILENT);
    }

    fn connect_after_a_failed_connect_succeeds(scene: shared) {
        let closed = closed_port(scene);
        for way in ["reconnect", "reconnect-polled"] {
            let program = c("connects").arg(way).args(&closed).args(GREETING);
            scene.same(program).shows("received: welcome\n");
        }
    }

    fn second_connect_returns_the_result_of_the_first(scene: shared) {
        connects(scene, "second", GREETING).shows("second connect: 0\n");
        refused(scene, "second").shows("second connect: ECONNREFUSED\n");
        connects(scene, "second", SILENT).shows("connect again: EALREADY\n");
    }

    fn connect_on_a_once_connected_socket_returns_eisconn(scene: shared) {
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

    fn concurrent_connects_of_one_socket_return_the_kernels_errnos(scene: shared) {
        scene.same(python("racing_connects.py").args(GREETING).arg("100")).prints("strange: []\n");
    }

    fn read_or_write_after_failed_connect_returns_econnrefused(scene: shared) {
        let outcome = scene.same(c("unasked").args(closed_port(scene)));
        for call in ["read", "recvmsg", "write", "sendmsg"] {
            outcome.shows(&format!("{call}: ECONNREFUSED\n"));
        }
        scene.same(c("unasked").args(SILENT)).shows("read: EAGAIN\n");
    }

    fn ipv6_socket_connects_to_a_mapped_address(scene: shared) {
        connects(scene, "mapped", GREETING).shows("getpeername: ::ffff:10.96.10.3 7005, 28 bytes\n");
        refused(scene, "mapped").shows("connect: ECONNREFUSED\n");
    }

    fn connect_of_an_ipv6_only_socket_to_a_mapped_address_fails_as_bare(scene: shared) {
        connects(scene, "v6only", GREETING);
    }

    fn connect_in_a_child_connects_the_parents_socket(scene: shared) {
        connects(scene, "fork", GREETING).shows("received: welcome\n");
        refused(scene, "fork").shows("failed: ECONNREFUSED\n");
    }

    fn connect_of_a_bound_socket_succeeds(scene: shared) {
        connects(scene, "bound", GREETING).shows("received: welcome\n");
        refused(scene, "bound").shows("connect: ECONNREFUSED\n");
    }

    fn socket_dissolved_by_af_unspec_connects_again(scene: shared) {
        connects(scene, "dissolved", GREETING).shows("received: welcome\n");
    }

    fn misused_connect_returns_the_kernels_errno(scene: shared) {
        connects(scene, "misused", GREETING);
    }
}
