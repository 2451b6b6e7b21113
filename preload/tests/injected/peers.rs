//! getpeername(2) and getsockname(2).

use crate::program::{Program, run};
use crate::relay::Relay;
use crate::script::Script;
use std::io::Write;
use std::net::TcpListener;
use std::thread;

/// The same program, bare, connected to a listener of the same address length.
fn bare(program: &str, address: &str, args: &[&str]) -> String {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _sent = stream.write_all(b"welcome\n");
        }
    });
    let args: Vec<_> = [address, &port].into_iter().chain(args.iter().copied()).collect();
    Program::bare(program, &args)
        .output()
        .replace(&port, "PORT")
        .replace(address, "ADDRESS")
}

/// Lines without the addresses: lengths, errors, and which bytes were written.
fn shape(output: &str) -> Vec<String> {
    let line = |line: &str| match line.split_once("length") {
        Some((head, tail)) if line.contains(" bytes: ") => {
            let (length, bytes) = tail.split_once(',').unwrap();
            let written = bytes
                .split_whitespace()
                .map(|byte| if byte == "ee" { '.' } else { 'x' });
            format!("{head} {length} {}", written.collect::<String>())
        }
        _ if line.starts_with("peer: ") => "peer".into(),
        _ if line.starts_with("own: ") || line.starts_with("by number: ") => "own address".into(),
        _ => line.to_owned(),
    };
    output.lines().map(line).collect()
}

#[test]
fn peer_address_is_truncated_to_buffer_as_by_kernel() {
    let relay = Relay::start();
    let port = Script::Connect.port().to_string();
    let output = run(&relay, "peer_buffers", &["10.96.10.3", &port]);
    assert!(output.contains("peer: 10.96.10.3:2000\n"), "{output}");
    assert!(
        output.contains("16 bytes: 0, length 16, 02 00 07 d0 0a 60 0a 03 00"),
        "{output}"
    );
    assert_eq!(shape(&output), shape(&bare("peer_buffers", "127.0.0.1", &[])));
}

#[test]
fn peer_address_of_ipv6_socket_has_all_fields() {
    let relay = Relay::start();
    let port = Script::Connect.port().to_string();
    for mode in [&[][..], &["v6only"]] {
        let args: Vec<_> = ["fd00::7", &port]
            .into_iter()
            .chain(mode.iter().copied())
            .collect();
        let output = run(&relay, "peer_buffers", &args);
        assert!(output.contains("peer: [fd00::7]:2000\n"), "{output}");
        assert_eq!(shape(&output), shape(&bare("peer_buffers", "::1", mode)));
    }
}

#[test]
fn peer_address_of_mapped_connect_is_mapped() {
    let relay = Relay::start();
    let port = Script::Connect.port().to_string();
    let output = run(&relay, "peer_buffers", &["10.96.10.3", &port, "mapped"]);
    assert!(output.contains("peer: [::ffff:10.96.10.3]:2000\n"), "{output}");
    assert_eq!(
        shape(&output),
        shape(&bare("peer_buffers", "127.0.0.1", &["mapped"]))
    );
}

#[test]
fn peer_address_of_local_connection_is_native() {
    let relay = Relay::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let accepting = thread::spawn(move || listener.accept().map(drop));
    let output = run(&relay, "connect_blocking", &["127.0.0.1", &port]);
    accepting.join().unwrap().unwrap();
    assert!(output.contains(&format!("peer: 127.0.0.1:{port}\n")), "{output}");
    assert_eq!(relay.requests(), Vec::<String>::new());
}

#[test]
fn local_address_is_the_pods_and_truncated_as_by_kernel() {
    let relay = Relay::start();
    let port = Script::Connect.port().to_string();
    for (target, local, mode, own) in [
        ("10.96.10.3", "127.0.0.1", &[][..], "10.244.0.5:0"),
        ("10.96.10.3", "127.0.0.1", &["mapped"], "[::ffff:10.244.0.5]:0"),
        ("fd00::7", "::1", &[], "[fd00::5]:0"),
        ("fd00::7", "::1", &["v6only"], "[fd00::5]:0"),
    ] {
        let args: Vec<_> = [target, &port].into_iter().chain(mode.iter().copied()).collect();
        let output = run(&relay, "own_address", &args);
        let expected = format!("own: with a port, {own}\nby number: with a port, {own}\n");
        assert!(output.contains(&expected), "{output}");
        assert_eq!(shape(&output), shape(&bare("own_address", local, mode)));
    }
}

#[test]
fn local_address_of_local_connection_is_native() {
    let relay = Relay::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    for mode in [&[][..], &["datagram"]] {
        let args: Vec<_> = ["127.0.0.1", &port]
            .into_iter()
            .chain(mode.iter().copied())
            .collect();
        let output = run(&relay, "own_address", &args);
        assert!(output.contains("own: with a port, 127.0.0.1:0\n"), "{output}");
    }
    assert_eq!(relay.requests(), Vec::<String>::new());
}

#[test]
fn failed_receive_keeps_lengths_and_headers() {
    let relay = Relay::start();
    let output = run(&relay, "receive_nothing", &[]);
    assert_eq!(output, Program::bare("receive_nothing", &[]).output());
    assert!(
        output.contains("udp 8: recvfrom EAGAIN length 8, recvmsg EAGAIN length 8 name kept"),
        "{output}"
    );
    assert!(output.contains("jumped out of: name kept length 8\n"), "{output}");
}

#[test]
fn pods_address_can_be_bound_and_connected_and_is_shown_to_both_ends() {
    let relay = Relay::start();
    for (args, shown) in [
        (&["10.244.0.5"][..], "10.244.0.5:0"),
        (&["::ffff:10.244.0.5"], "[::ffff:10.244.0.5]:0"),
        (&["fd00::5"], "[fd00::5]:0"),
        (&["fd00::5", "v6only"], "[fd00::5]:0"),
    ] {
        let length = if shown.starts_with('[') { 28 } else { 16 };
        let streams = format!(
            "bind: 0\nlisten: 0\nlistener: POD PORT\nbound twice: EADDRINUSE\nconnect: 0\nclient: POD PORT\n\
             client's peer: POD PORT\naccepted from: POD PORT\nlength: {length}\naccepted at: POD PORT\n\
             accepted's peer: POD PORT\nwritten: 5\ndata: hello\nroom for 4: yes, length {length}, cut\n\
             no address: yes\nnobody listens: ECONNREFUSED\n"
        );
        let any = if length == 28 { "[::]:0" } else { "0.0.0.0:0" };
        let datagrams = format!(
            "bind: 0\nserver: POD PORT\nfrom a socket with the address: 8\ndatagram: POD PORT\n\
             from a socket without one: 8\ndatagram: POD PORT\nit still has none: {any} PORT\nconnect: 0\n\
             peer: POD PORT\nown: POD PORT\nconnect a new one: 0\nown: POD PORT\n\
             connected: 8\ndatagram: POD PORT\nby name: 8\na source: POD PORT\n\
             by name, connected: 8\na source: POD PORT\na foreign source: no\n\
             bind to a foreign address: EADDRNOTAVAIL\n"
        );
        let expected = format!("{streams}{streams}{datagrams}").replace("POD", shown);
        let output = run(&relay, "pod_address", args);
        assert_eq!(output, expected, "{args:?}");
    }
}

#[test]
fn receive_into_unwritable_address_buffer_fails_as_in_kernel() {
    let relay = Relay::start();
    let output = run(&relay, "unwritable_buffers", &[]);
    assert_eq!(output, Program::bare("unwritable_buffers", &[]).output());
    assert!(
        output.ends_with("other lengths that were seen: none\n"),
        "{output}"
    );
}
