//! UDP: connected or not, with several targets, cut, refused, by every call that there is.

use kinject_tests::on_both_places;
use kinject_tests::programs::{c, python};
use kinject_tests::running::Outcome;
use kinject_tests::scene::Scene;

use crate::targets::{UNROUTABLE, closed_port, pod};

/// Sends back what it gets.
const ECHO: [&str; 2] = ["10.96.10.3", "7000"];
fn datagrams(scene: &Scene, way: &str, targets: &[[&str; 2]]) -> Outcome {
    scene.same(c("datagrams").arg(way).args(targets.concat()))
}

on_both_places! {
    fn connected_udp_socket_receives_from_its_peer(scene: shared) {
        datagrams(scene, "connected", &[ECHO]).shows("recvfrom: 5 bytes `hello");
        datagrams(scene, "connected", &[ECHO]).shows("from 10.96.10.3 7000, 16 bytes");
        datagrams(scene, "mapped-connected", &[ECHO]).shows("from ::ffff:10.96.10.3 7000, 28 bytes");
    }

    fn udp_echo_by_service_name_is_answered(scene: shared) {
        datagrams(scene, "connected", &[["echo", "7000"]]).shows("getpeername: 10.96.10.3 7000");
        datagrams(scene, "unconnected", &[["echo.default", "7000"], ["db-0.db", "7000"]])
            .shows(&format!("from {} 7000", pod(scene)));
    }

    fn one_udp_socket_reaches_several_targets(scene: shared) {
        let pod = pod(scene);
        datagrams(scene, "unconnected", &[ECHO, [&pod, "7000"]]).shows(&format!("from {pod} 7000, 16 bytes"));
        datagrams(scene, "mapped", &[ECHO, [&pod, "7000"]]).shows(&format!("from ::ffff:{pod} 7000, 28 bytes"));
    }

    fn sendmmsg_reaches_several_targets(scene: shared) {
        let pod = pod(scene);
        datagrams(scene, "several", &[ECHO, [&pod, "7000"]]).shows("sendmmsg: 8\n").shows(&format!(
            "number 1 from {pod} 7000, 16 bytes\nnumber 2 from 10.96.10.3 7000, 16 bytes\n"
        ));
    }

    fn peeked_truncated_and_oversized_datagrams_match_the_kernel(scene: shared) {
        datagrams(scene, "cut", &[ECHO])
            .shows("recvfrom: 10 bytes `0123`")
            .shows("the largest: 65507\nrecvfrom: 65507 bytes")
            .shows("too large: EMSGSIZE\n");
    }

    fn message_with_control_data_is_carried(scene: shared) {
        datagrams(scene, "message", &[ECHO])
            .shows("recvmsg: 4 from 10.96.10.3 7000, 16 bytes, cut\n")
            .shows("recvfrom: 8 bytes `answered");
    }

    fn short_or_bad_source_buffer_is_truncated_or_efault(scene: shared) {
        datagrams(scene, "short", &[ECHO]).shows("room for 3: 5, length 16\n").shows("at a bad place: EFAULT\n");
    }

    fn udp_send_to_a_closed_port_returns_econnrefused(scene: shared) {
        let [address, port] = closed_port(scene);
        datagrams(scene, "refused", &[[&address, &port], ECHO])
            .shows("poll: 1 ERR\nrecvfrom: ECONNREFUSED\n")
            .shows("SO_ERROR: ECONNREFUSED\n")
            .shows("getpeername: 10.96.10.3 7000, 16 bytes\nwithout connecting: 7\nrecvfrom: EAGAIN\n");
    }

    fn udp_send_to_an_unroutable_address_fails_as_bare(scene: shared) {
        // the sandbox's own kernel says so, the cluster's node when it is too late
        datagrams(scene, "unreachable", &[UNROUTABLE]);
    }

    fn udp_socket_is_reconnected_and_dissolved(scene: shared) {
        let pod = pod(scene);
        datagrams(scene, "again", &[ECHO, [&pod, "7000"]])
            .shows(&format!("getpeername: {pod} 7000, 16 bytes\n"))
            .shows("getpeername: ENOTCONN\nsend: EDESTADDRREQ\nsendto: 4\n");
    }

    fn udp_socket_connected_to_port_0_has_a_source_and_no_peer(scene: shared) {
        datagrams(scene, "no-port", &[ECHO, ECHO])
            .shows("connect: 0\ngetpeername: ENOTCONN\n")
            .shows("sendto: EINVAL\nconnect: 0\ngetpeername: 10.96.10.3 7000, 16 bytes\n");
    }

    fn inherited_udp_socket_works_in_a_child(scene: shared) {
        datagrams(scene, "inherited", &[ECHO, [&pod(scene), "7000"]]).shows("recvfrom: 4 bytes `copy");
    }

    fn datagram_calls_by_system_call_number_are_carried(scene: shared) {
        datagrams(scene, "system-calls", &[ECHO])
            .shows("recvfrom: 3\nfrom 10.96.10.3 7000, 16 bytes\n")
            .shows("close: 0\nclose: EBADF\n");
    }

    fn udp_query_to_the_cluster_name_server_is_answered(scene: shared) {
        let names = ["web.default.svc.cluster.local", "missing.default.svc.cluster.local", "web.other.svc.cluster.local"];
        scene
            .same(python("resolver.py").arg("10.96.0.10").args(names))
            .shows("number 1, code 0, 10.96.10.1\n")
            .shows("number 102, code 3, no address from 10.96.0.10 53\n");
    }

    fn port_of_a_closed_udp_socket_is_free_at_once(scene: shared) {
        datagrams(scene, "port", &[ECHO]).shows("bind the same port: 0\nrecvfrom: 10 bytes");
    }
}
