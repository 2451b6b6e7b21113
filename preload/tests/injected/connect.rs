//! connect(2), getsockopt(SO_ERROR) and the datagram functions.

use crate::program::{Program, run};
use crate::relay::Relay;
use crate::script::Script;
use kinject_protocol::ConnectFailure;
use std::path::Path;

const TARGET: &str = "10.96.10.3";

fn blocking(relay: &Relay, script: Script) -> String {
    run(relay, "connect_blocking", &[TARGET, &script.port().to_string()])
}

fn nonblocking(relay: &Relay, script: Script, more: &[&str]) -> String {
    let port = script.port().to_string();
    let args: Vec<_> = [TARGET, &port].into_iter().chain(more.iter().copied()).collect();
    run(relay, "connect_nonblocking", &args)
}

#[test]
fn every_failure_sets_its_errno() {
    let relay = Relay::start();
    for failure in ConnectFailure::ALL {
        let expected = match failure {
            ConnectFailure::Refused => "ECONNREFUSED",
            ConnectFailure::TimedOut => "ETIMEDOUT",
            ConnectFailure::HostUnreachable => "EHOSTUNREACH",
            ConnectFailure::NetworkUnreachable | ConnectFailure::TunnelDown => "ENETUNREACH",
            ConnectFailure::Reset => "ECONNRESET",
            ConnectFailure::PermissionDenied => "EACCES",
            ConnectFailure::AddressNotAvailable => "EADDRNOTAVAIL",
            ConnectFailure::Exhausted => "EAGAIN",
            ConnectFailure::AlreadyReported => "ECONNABORTED",
            ConnectFailure::Invalid => "EINVAL",
            ConnectFailure::NotAtRest => "EALREADY",
        };
        let said = blocking(&relay, Script::Fail(failure));
        assert_eq!(
            said,
            format!("connect: {expected}\nSO_ERROR: 0\npeer: ENOTCONN\n"),
            "{failure:?}"
        );
    }
}

#[test]
fn a_blocking_connect_that_is_done_at_once_shows_the_true_peer() {
    let relay = Relay::start();
    let said = blocking(&relay, Script::Connect);
    let expected = "connect: 0\nerrno kept: yes\nSO_ERROR: 0\npeer: 10.96.10.3:2000\ndata: welcome\nconnect again: EISCONN\n";
    assert_eq!(said, expected);
}

#[test]
fn a_blocking_connect_in_progress_sleeps_in_the_kernel() {
    let relay = Relay::start();
    let said = blocking(&relay, Script::ProgressThenConnect);
    let expected = "connect: 0\nerrno kept: yes\nSO_ERROR: 0\npeer: 10.96.10.3:2001\ndata: welcome\nconnect again: EISCONN\n";
    assert_eq!(said, expected);
}

#[test]
fn a_blocking_connect_that_is_refused_late_has_the_true_errno() {
    let relay = Relay::start();
    let said = blocking(&relay, Script::ProgressThenRefuse);
    assert_eq!(said, "connect: ECONNREFUSED\nSO_ERROR: 0\npeer: ENOTCONN\n");
}

#[test]
fn a_nonblocking_connect_is_in_progress_and_wakes_epoll() {
    let relay = Relay::start();
    let said = nonblocking(&relay, Script::ProgressThenConnect, &[]);
    let expected = "connect: EINPROGRESS\nevent: out\nSO_ERROR: 0\n\
                    second connect: 0\nSO_ERROR after it: 0\npeer: 10.96.10.3:2001\ndata: welcome\n";
    assert_eq!(said, expected);
}

#[test]
fn a_nonblocking_connect_that_is_refused_says_so_in_so_error() {
    let relay = Relay::start();
    let said = nonblocking(&relay, Script::ProgressThenRefuse, &[]);
    let expected = "connect: EINPROGRESS\nevent: out err\nSO_ERROR: ECONNREFUSED\n";
    assert!(said.starts_with(expected), "{said}");
}

#[test]
fn a_second_connect_fetches_the_failure_of_the_first() {
    let relay = Relay::start();
    let said = nonblocking(&relay, Script::ProgressThenRefuse, &["again"]);
    let expected = "connect: EINPROGRESS\nevent: out err\nsecond connect: ECONNREFUSED\nSO_ERROR after it: 0\n\
                    peer: ENOTCONN\n";
    assert_eq!(said, expected);
    let said = nonblocking(&relay, Script::ProgressThenConnect, &["again"]);
    let expected = "connect: EINPROGRESS\nevent: out\nsecond connect: 0\nSO_ERROR after it: 0\n\
                    peer: 10.96.10.3:2001\ndata: welcome\n";
    assert_eq!(said, expected);
}

#[test]
fn a_relay_that_hangs_up_or_talks_nonsense_is_a_network_that_cannot_be_reached() {
    let relay = Relay::start();
    for script in [Script::HangUp, Script::Garbage, Script::WrongReply] {
        let said = blocking(&relay, script);
        assert_eq!(
            said, "connect: ENETUNREACH\nSO_ERROR: 0\npeer: ENOTCONN\n",
            "{script:?}"
        );
    }
}

#[test]
fn without_a_relay_every_connect_fails_and_none_leaves_the_machine() {
    let gone = tempfile::tempdir().unwrap();
    let dead = gone.path().join("dead");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let too_long = "/".to_owned() + &"x".repeat(200);
    for socket in [
        &gone.path().join("missing"),
        &dead,
        Path::new(&too_long),
        Path::new("/proc/version"),
    ] {
        let said = Program::with_socket(socket, "connect_blocking", &[TARGET, "2000"]).output();
        assert_eq!(
            said, "connect: ENETUNREACH\nSO_ERROR: 0\npeer: ENOTCONN\n",
            "{socket:?}"
        );
    }
}

#[test]
fn a_local_target_is_connected_by_the_kernel() {
    let relay = Relay::start();
    let said = run(
        &relay,
        "connect_local",
        &[TARGET, &Script::Local.port().to_string()],
    );
    assert_eq!(
        said,
        "connect: 0\npeer: 10.96.10.3:2011\naccept: 0\naccepted at: 10.96.10.3:2011\n"
    );
}

#[test]
fn a_send_timeout_ends_a_blocking_connect() {
    let relay = Relay::start();
    let port = Script::ProgressForEver.port().to_string();
    let said = run(&relay, "connect_timeout", &[TARGET, &port, "300"]);
    assert_eq!(
        said,
        "connect: EINPROGRESS\nin time: yes\nconnect again: EALREADY\n"
    );
}

#[test]
fn a_signal_while_the_kernel_sleeps_gives_eintr() {
    let relay = Relay::start();
    let port = Script::ProgressForEver.port().to_string();
    let said = run(&relay, "connect_interrupted", &[TARGET, &port, "leave"]);
    assert_eq!(said, "connect: EINTR\nsignals: some\n");
}

#[test]
fn a_signal_while_the_relay_is_asked_gives_eintr_and_the_connect_goes_on() {
    let relay = Relay::start();
    let port = Script::SignalThenProgress.port().to_string();
    let said = run(
        &relay,
        "connect_interrupted",
        &[TARGET, &port, "tell", relay.signals()],
    );
    let expected = "connect: EINTR\nsignals: some\nwritable: yes\nSO_ERROR: 0\npeer: 10.96.10.3:2004\n";
    assert_eq!(said, expected);
}

#[test]
fn a_refusal_is_told_to_a_program_that_waits_again_after_a_signal() {
    let relay = Relay::start();
    let port = Script::ProgressThenSignalThenRefuse.port().to_string();
    let said = run(
        &relay,
        "connect_interrupted",
        &[TARGET, &port, "again", "tell", relay.signals()],
    );
    let expected =
        "connect: EINTR\nsignals: some\nconnect again: ECONNREFUSED\nSO_ERROR: 0\npeer: ENOTCONN\n";
    assert_eq!(said, expected);
}

#[test]
fn a_handler_that_restarts_calls_is_not_noticed() {
    let relay = Relay::start();
    let port = Script::SignalThenProgress.port().to_string();
    let said = run(
        &relay,
        "connect_interrupted",
        &[TARGET, &port, "restart", "tell", relay.signals()],
    );
    assert_eq!(said, "connect: 0\nsignals: some\n");
}

#[test]
fn a_result_that_is_there_after_the_signal_counts() {
    let relay = Relay::start();
    for (script, expected) in [
        (Script::SignalThenConnected, "0"),
        (Script::SignalThenRefused, "ECONNREFUSED"),
    ] {
        let port = script.port().to_string();
        let said = run(
            &relay,
            "connect_interrupted",
            &[TARGET, &port, "tell", relay.signals()],
        );
        assert_eq!(said, format!("connect: {expected}\nsignals: some\n"));
    }
}

#[test]
fn a_storm_of_signals_ends_the_wait_for_a_silent_relay() {
    let relay = Relay::start();
    let port = Script::Silence.port().to_string();
    let said = run(&relay, "connect_interrupted", &[TARGET, &port, "storm", "leave"]);
    assert_eq!(said, "connect: EINTR\nsignals: some\n");
}

#[test]
fn addresses_that_stay_local_or_are_no_addresses_are_the_kernels_business() {
    let relay = Relay::start();
    let bare = Program::bare("bad_addresses", &[]).output();
    assert_eq!(run(&relay, "bad_addresses", &[]), bare);
    assert_eq!(relay.asked(), Vec::<String>::new());
}

#[test]
fn datagrams_never_leave_the_machine() {
    let relay = Relay::start();
    let said = run(&relay, "datagrams", &["10.96.0.10", "53"]);
    let expected = "connect: ENETUNREACH\nsendto: ENETUNREACH\nsendmsg: ENETUNREACH\nsendmmsg: ENETUNREACH\n\
                    sendmmsg after a local one: 1\nlocal sendto: 1\nlocal sendmsg: 1\nlocal connect: 0\n\
                    connected send: 1\nmulticast: ENETUNREACH\nv6: ENETUNREACH\nmapped: ENETUNREACH\n";
    assert_eq!(said, expected);
    let asked = relay.asked();
    assert!(asked.iter().all(|line| line.starts_with("flow ")), "{asked:?}");
}

#[test]
fn a_fast_open_connects_first_and_sends_then() {
    let relay = Relay::start();
    let port = Script::Connect.port().to_string();
    let said = run(&relay, "fast_open", &[TARGET, &port]);
    let expected = "sendto: 5\ndata: welcome\nsendmsg: 5\ndata: welcome\nsendmmsg: 1\ndata: welcome\n\
                    deferred connect: 0\ndata: welcome\n";
    assert_eq!(said, expected);
    let port = Script::Fail(ConnectFailure::Refused).port().to_string();
    let said = run(&relay, "fast_open", &[TARGET, &port]);
    assert_eq!(
        said,
        "sendto: ECONNREFUSED\nsendmsg: ECONNREFUSED\nsendmmsg: ECONNREFUSED\ndeferred connect: ECONNREFUSED\n"
    );
}

#[test]
fn what_multipath_tcp_connects_goes_through_the_relay() {
    let relay = Relay::start();
    let said = run(
        &relay,
        "multipath",
        &[TARGET, &Script::Connect.port().to_string()],
    );
    assert!(
        said == "no multipath\n" || said == "connect: 0\npeer: 10.96.10.3:2000\n",
        "{said}"
    );
}
