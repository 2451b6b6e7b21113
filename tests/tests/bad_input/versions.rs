//! Agents of another version: refused if their wire version differs, named if only their release does.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use kinject_tests::running::run_within;
use kinject_tunnel::{Version, WIRE_VERSION};

use crate::stand_in::StandIn;

const ECHO: [&str; 2] = ["echo", "ran"];

fn version(wire: u16, software: &str) -> Version {
    Version {
        wire,
        software: software.into(),
    }
}

#[test]
fn agent_with_another_wire_version_is_refused_by_both_sides() {
    let ours = env!("CARGO_PKG_VERSION");
    for (wire, software) in [(WIRE_VERSION + 1, "99.0.1"), (0, "0.0.1")] {
        let agent = StandIn::start(version(wire, software), "");
        let outcome = agent.kinject(&[], &ECHO);
        outcome
            .exited(125)
            .complains(&agent.endpoint())
            .complains(&format!("is version {software} (wire {wire})"))
            .complains(&format!("kinject {ours} (wire {WIRE_VERSION}) cannot work"))
            .complains(&format!("\n\nhint: start a kinject-agent {ours}"))
            .complains(&format!("or use kinject {software}\n"));
        assert!(outcome.took < Duration::from_secs(5), "{outcome}");
    }
}

#[test]
fn agent_of_another_release_works_and_is_named_once() {
    let agent = StandIn::start(version(WIRE_VERSION, "0.0.9"), "");
    let outcome = agent.kinject(&[], &ECHO);
    outcome
        .succeeded()
        .prints("ran\n")
        .complains("is version 0.0.9")
        .complains(&format!("this kinject is {}", env!("CARGO_PKG_VERSION")))
        .complains("\n\nhint: ");
    assert_eq!(
        outcome.stderr.matches("0.0.9, this kinject").count(),
        1,
        "{outcome}"
    );
    let quiet = agent.kinject(&["--quiet"], &ECHO);
    assert_eq!(quiet.succeeded().stderr, "");
}

#[test]
fn agent_of_the_same_release_gets_no_message() {
    let agent = StandIn::start(Version::own(), "");
    assert_eq!(agent.kinject(&[], &ECHO).succeeded().stderr, "");
}

/// Agents before wire version 4 speak no TLS on TCP, and close a connection that begins with TLS.
#[test]
fn agent_without_tls_on_tcp_is_refused_by_both_sides() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp:{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for relay in listener.incoming() {
            let (mut relay, mut hello) = (relay.unwrap(), [0; 60]);
            if relay.read_exact(&mut hello).is_ok() && hello.starts_with(b"kinject\0") {
                hello[8..10].copy_from_slice(&3_u16.to_be_bytes());
                relay.write_all(&hello).unwrap();
            }
        }
    });
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), [7; 32]).unwrap();
    let mut command = kinject_tests::apart::kinject();
    command
        .args(["run", "--agent", &endpoint, "--agent-key"])
        .arg(key.path())
        .args(["--", "true"]);
    let outcome = run_within(&mut command, Duration::from_secs(15));
    outcome
        .exited(125)
        .complains(&format!("the agent at {endpoint} is version"))
        .complains("(wire 3)")
        .complains(&format!("(wire {WIRE_VERSION}) cannot work"));
}
