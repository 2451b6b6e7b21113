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
fn connect_failure_sets_its_errno() {
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
        let output = blocking(&relay, Script::Fail(failure));
        assert_eq!(
            output,
            format!("connect: {expected}\nSO_ERROR: 0\npeer: ENOTCONN\n"),
            "{failure:?}"
        );
    }
}

#[test]
fn blocking_connect_shows_target_as_peer() {
    let relay = Relay::start();
    let output = blocking(&relay, Script::Connect);
    let expected = "connect: 0\nerrno kept: yes\nSO_ERROR: 0\npeer: 10.96.10.3:2000\ndata: welcome\n\
                    connect again: EISCONN\n";
    assert_eq!(output, expected);
}

#[test]
fn blocking_connect_in_progress_waits_until_connected() {
    let relay = Relay::start();
    let output = blocking(&relay, Script::ProgressThenConnect);
    let expected = "connect: 0\nerrno kept: yes\nSO_ERROR: 0\npeer: 10.96.10.3:2001\ndata: welcome\n\
                    connect again: EISCONN\n";
    assert_eq!(output, expected);
}

#[test]
fn blocking_connect_refused_while_in_progress_returns_econnrefused() {
    let relay = Relay::start();
    let output = blocking(&relay, Script::ProgressThenRefuse);
    assert_eq!(output, "connect: ECONNREFUSED\nSO_ERROR: 0\npeer: ENOTCONN\n");
}

#[test]
fn nonblocking_connect_is_in_progress_and_wakes_epoll() {
    let relay = Relay::start();
    let output = nonblocking(&relay, Script::ProgressThenConnect, &[]);
    let expected = "connect: EINPROGRESS\nevent: out\nSO_ERROR: 0\n\
                    second connect: 0\nSO_ERROR after it: 0\npeer: 10.96.10.3:2001\ndata: welcome\n";
    assert_eq!(output, expected);
}

#[test]
fn nonblocking_connect_refused_sets_so_error() {
    let relay = Relay::start();
    let output = nonblocking(&relay, Script::ProgressThenRefuse, &[]);
    let expected = "connect: EINPROGRESS\nevent: out err\nSO_ERROR: ECONNREFUSED\n";
    assert!(output.starts_with(expected), "{output}");
}

#[test]
fn second_connect_returns_result_of_first() {
    let relay = Relay::start();
    let output = nonblocking(&relay, Script::ProgressThenRefuse, &["again"]);
    let expected = "connect: EINPROGRESS\nevent: out err\nsecond connect: ECONNREFUSED\nSO_ERROR after it: 0\n\
                    peer: ENOTCONN\n";
    assert_eq!(output, expected);
    let output = nonblocking(&relay, Script::ProgressThenConnect, &["again"]);
    let expected = "connect: EINPROGRESS\nevent: out\nsecond connect: 0\nSO_ERROR after it: 0\n\
                    peer: 10.96.10.3:2001\ndata: welcome\n";
    assert_eq!(output, expected);
}

#[test]
fn connect_with_closed_or_malformed_reply_returns_enetunreach() {
    let relay = Relay::start();
    for script in [Script::Close, Script::Garbage, Script::WrongReply] {
        let output = blocking(&relay, script);
        assert_eq!(
            output, "connect: ENETUNREACH\nSO_ERROR: 0\npeer: ENOTCONN\n",
            "{script:?}"
        );
    }
}

#[test]
fn connect_without_relay_returns_enetunreach() {
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    drop(std::os::unix::net::UnixListener::bind(&closed).unwrap());
    let too_long = "/".to_owned() + &"x".repeat(200);
    for socket in [
        &folder.path().join("missing"),
        &closed,
        Path::new(&too_long),
        Path::new("/proc/version"),
    ] {
        let output = Program::with_socket(socket, "connect_blocking", &[TARGET, "2000"]).output();
        assert_eq!(
            output, "connect: ENETUNREACH\nSO_ERROR: 0\npeer: ENOTCONN\n",
            "{socket:?}"
        );
    }
}

#[test]
fn connect_to_local_target_is_native() {
    let relay = Relay::start();
    let output = run(
        &relay,
        "connect_local",
        &[TARGET, &Script::Local.port().to_string()],
    );
    assert_eq!(
        output,
        "connect: 0\npeer: 10.96.10.3:2011\naccept: 0\naccepted at: 10.96.10.3:2011\n"
    );
}

#[test]
fn blocking_connect_with_send_timeout_returns_einprogress() {
    let relay = Relay::start();
    let port = Script::ProgressForever.port().to_string();
    let output = run(&relay, "connect_timeout", &[TARGET, &port, "300"]);
    assert_eq!(
        output,
        "connect: EINPROGRESS\nin time: yes\nconnect again: EALREADY\n"
    );
}

#[test]
fn signal_during_wait_in_kernel_returns_eintr() {
    let relay = Relay::start();
    let port = Script::ProgressForever.port().to_string();
    let output = run(&relay, "connect_interrupted", &[TARGET, &port, "leave"]);
    assert_eq!(output, "connect: EINTR\nsignals: some\n");
}

#[test]
fn signal_during_request_returns_eintr_and_connect_goes_on() {
    let relay = Relay::start();
    let port = Script::SignalThenProgress.port().to_string();
    let output = run(
        &relay,
        "connect_interrupted",
        &[TARGET, &port, "tell", relay.signals()],
    );
    let expected = "connect: EINTR\nsignals: some\nwritable: yes\nSO_ERROR: 0\npeer: 10.96.10.3:2004\n";
    assert_eq!(output, expected);
}

#[test]
fn connect_resumed_after_signal_returns_econnrefused() {
    let relay = Relay::start();
    let port = Script::ProgressThenSignalThenRefuse.port().to_string();
    let output = run(
        &relay,
        "connect_interrupted",
        &[TARGET, &port, "again", "tell", relay.signals()],
    );
    let expected =
        "connect: EINTR\nsignals: some\nconnect again: ECONNREFUSED\nSO_ERROR: 0\npeer: ENOTCONN\n";
    assert_eq!(output, expected);
}

#[test]
fn signal_with_sa_restart_does_not_interrupt_connect() {
    let relay = Relay::start();
    let port = Script::SignalThenProgress.port().to_string();
    let output = run(
        &relay,
        "connect_interrupted",
        &[TARGET, &port, "restart", "tell", relay.signals()],
    );
    assert_eq!(output, "connect: 0\nsignals: some\n");
}

#[test]
fn connect_finished_during_signal_returns_its_result() {
    let relay = Relay::start();
    for (script, expected) in [
        (Script::SignalThenConnected, "0"),
        (Script::SignalThenRefused, "ECONNREFUSED"),
    ] {
        let port = script.port().to_string();
        let output = run(
            &relay,
            "connect_interrupted",
            &[TARGET, &port, "tell", relay.signals()],
        );
        assert_eq!(output, format!("connect: {expected}\nsignals: some\n"));
    }
}

#[test]
fn repeated_signals_end_wait_for_silent_relay_with_eintr() {
    let relay = Relay::start();
    let port = Script::Silence.port().to_string();
    let output = run(&relay, "connect_interrupted", &[TARGET, &port, "storm", "leave"]);
    assert_eq!(output, "connect: EINTR\nsignals: some\n");
}

#[test]
fn local_and_invalid_addresses_are_native() {
    let relay = Relay::start();
    let bare = Program::bare("bad_addresses", &[]).output();
    assert_eq!(run(&relay, "bad_addresses", &[]), bare);
    assert_eq!(relay.requests(), Vec::<String>::new());
}

#[test]
fn refused_datagram_returns_enetunreach_and_local_datagram_is_sent() {
    let relay = Relay::start();
    let output = run(&relay, "datagrams", &["10.96.0.10", "53"]);
    let expected = "connect: ENETUNREACH\nsendto: ENETUNREACH\nsendmsg: ENETUNREACH\nsendmmsg: ENETUNREACH\n\
                    sendmmsg after a local one: 1\nlocal sendto: 1\nlocal sendmsg: 1\nlocal connect: 0\n\
                    connected send: 1\nmulticast: ENETUNREACH\nv6: ENETUNREACH\nmapped: ENETUNREACH\n";
    assert_eq!(output, expected);
    let asked = relay.requests();
    assert!(asked.iter().all(|line| line.starts_with("flow ")), "{asked:?}");
}

#[test]
fn send_with_fastopen_connects_before_it_sends() {
    let relay = Relay::start();
    let port = Script::Connect.port().to_string();
    let output = run(&relay, "fast_open", &[TARGET, &port]);
    let expected = "sendto: 5\ndata: welcome\nsendmsg: 5\ndata: welcome\nsendmmsg: 1\ndata: welcome\n\
                    deferred connect: 0\ndata: welcome\n";
    assert_eq!(output, expected);
    let port = Script::Fail(ConnectFailure::Refused).port().to_string();
    let output = run(&relay, "fast_open", &[TARGET, &port]);
    assert_eq!(
        output,
        "sendto: ECONNREFUSED\nsendmsg: ECONNREFUSED\nsendmmsg: ECONNREFUSED\ndeferred connect: ECONNREFUSED\n"
    );
}

#[test]
fn multipath_tcp_connect_goes_through_relay() {
    let relay = Relay::start();
    let output = run(
        &relay,
        "multipath",
        &[TARGET, &Script::Connect.port().to_string()],
    );
    assert!(
        output == "no multipath\n" || output == "connect: 0\npeer: 10.96.10.3:2000\n",
        "{output}"
    );
}
