//! UDP: connected and unconnected sockets, several targets, truncation, refusals, by every call of libc.

use kinject_tests::fixture::Fixture;
use kinject_tests::on_both_testbeds;
use kinject_tests::programs::{c, python};
use kinject_tests::running::Outcome;

use crate::targets::{UNROUTABLE, closed_port, pod};

/// Sends back what it gets.
const ECHO: [&str; 2] = ["10.96.10.3", "7000"];
fn datagrams(fixture: &Fixture, mode: &str, targets: &[[&str; 2]]) -> Outcome {
    fixture.same(c("datagrams").arg(mode).args(targets.concat()))
}

on_both_testbeds! {
    fn connected_udp_socket_receives_from_its_peer(fixture: shared) {
        datagrams(fixture, "connected", &[ECHO]).shows("recvfrom: 5 bytes `hello");
        datagrams(fixture, "connected", &[ECHO]).shows("from 10.96.10.3 7000, 16 bytes");
        datagrams(fixture, "mapped-connected", &[ECHO]).shows("from ::ffff:10.96.10.3 7000, 28 bytes");
    }

    fn udp_echo_by_service_name_is_answered(fixture: shared) {
        datagrams(fixture, "connected", &[["echo", "7000"]]).shows("getpeername: 10.96.10.3 7000");
        datagrams(fixture, "unconnected", &[["echo.default", "7000"], ["db-0.db", "7000"]])
            .shows(&format!("from {} 7000", pod(fixture)));
    }

    fn one_udp_socket_reaches_several_targets(fixture: shared) {
        let pod = pod(fixture);
        datagrams(fixture, "unconnected", &[ECHO, [&pod, "7000"]]).shows(&format!("from {pod} 7000, 16 bytes"));
        datagrams(fixture, "mapped", &[ECHO, [&pod, "7000"]]).shows(&format!("from ::ffff:{pod} 7000, 28 bytes"));
    }

    fn sendmmsg_reaches_several_targets(fixture: shared) {
        let pod = pod(fixture);
        datagrams(fixture, "several", &[ECHO, [&pod, "7000"]]).shows("sendmmsg: 8\n").shows(&format!(
            "number 1 from {pod} 7000, 16 bytes\nnumber 2 from 10.96.10.3 7000, 16 bytes\n"
        ));
    }

    fn peeked_truncated_and_oversized_datagrams_match_the_kernel(fixture: shared) {
        datagrams(fixture, "cut", &[ECHO])
            .shows("recvfrom: 10 bytes `0123`")
            .shows("the largest: 65507\nrecvfrom: 65507 bytes")
            .shows("too large: EMSGSIZE\n");
    }

    fn message_with_control_data_is_carried(fixture: shared) {
        datagrams(fixture, "message", &[ECHO])
            .shows("recvmsg: 4 from 10.96.10.3 7000, 16 bytes, cut\n")
            .shows("recvfrom: 8 bytes `answered");
    }

    fn short_or_bad_source_buffer_is_truncated_or_efault(fixture: shared) {
        datagrams(fixture, "short", &[ECHO]).shows("room for 3: 5, length 16\n").shows("at a bad place: EFAULT\n");
    }

    fn udp_send_to_a_closed_port_returns_econnrefused(fixture: shared) {
        let [address, port] = closed_port(fixture);
        datagrams(fixture, "refused", &[[&address, &port], ECHO])
            .shows("poll: 1 ERR\nrecvfrom: ECONNREFUSED\n")
            .shows("SO_ERROR: ECONNREFUSED\n")
            .shows("getpeername: 10.96.10.3 7000, 16 bytes\nwithout connecting: 7\nrecvfrom: EAGAIN\n");
    }

    fn udp_send_to_an_unroutable_address_fails_as_bare(fixture: shared) {
        // the sandbox's kernel reports it at once, the cluster's node by a later ICMP error
        datagrams(fixture, "unreachable", &[UNROUTABLE]);
    }

    fn udp_socket_is_reconnected_and_dissolved(fixture: shared) {
        let pod = pod(fixture);
        datagrams(fixture, "again", &[ECHO, [&pod, "7000"]])
            .shows(&format!("getpeername: {pod} 7000, 16 bytes\n"))
            .shows("getpeername: ENOTCONN\nsend: EDESTADDRREQ\nsendto: 4\n");
    }

    fn udp_socket_connected_to_port_0_has_a_source_and_no_peer(fixture: shared) {
        datagrams(fixture, "no-port", &[ECHO, ECHO])
            .shows("connect: 0\ngetpeername: ENOTCONN\n")
            .shows("sendto: EINVAL\nconnect: 0\ngetpeername: 10.96.10.3 7000, 16 bytes\n");
    }

    fn inherited_udp_socket_works_in_a_child(fixture: shared) {
        datagrams(fixture, "inherited", &[ECHO, [&pod(fixture), "7000"]]).shows("recvfrom: 4 bytes `copy");
    }

    fn datagram_calls_by_system_call_number_are_carried(fixture: shared) {
        datagrams(fixture, "system-calls", &[ECHO])
            .shows("recvfrom: 3\nfrom 10.96.10.3 7000, 16 bytes\n")
            .shows("close: 0\nclose: EBADF\n");
    }

    fn udp_query_to_the_cluster_name_server_is_answered(fixture: shared) {
        let names = ["web.default.svc.cluster.local", "missing.default.svc.cluster.local", "web.other.svc.cluster.local"];
        fixture
            .same(python("resolver.py").arg("10.96.0.10").args(names))
            .shows("number 1, code 0, 10.96.10.1\n")
            .shows("number 102, code 3, no address from 10.96.0.10 53\n");
    }

    fn port_of_a_closed_udp_socket_is_free_at_once(fixture: shared) {
        datagrams(fixture, "port", &[ECHO]).shows("bind the same port: 0\nrecvfrom: 10 bytes");
    }
}
