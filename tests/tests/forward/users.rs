//! Other users of this machine.

use std::process::Command;

use kinject_tests::fixture::Fixture;
use kinject_tests::programs::Program;
use kinject_tests::running::run;
use kinject_tests::testbed::Kind;
use kinject_tests::{ordinary, skip};

use crate::process::{Forward, curl};

/// A program of another user; `None`, and a note, where the tests cannot become one.
fn of_another_user(program: Program) -> Option<Command> {
    if ordinary::user().is_none() {
        skip::not_run("other users' programs", "becoming another user needs root");
        return None;
    }
    Some(ordinary::program(&program).command())
}

#[test]
fn connection_of_another_user_is_reset_and_named_once() {
    let Some(fixture) = Fixture::new(Kind::Sandbox) else {
        return;
    };
    let arguments = ["web", ":80", "--socks", "0"];
    let forward = Forward::start(fixture.testbed(), &arguments);
    let (local, socks) = (forward.local(), forward.local());
    let url = format!("http://{local}/");
    for _ in 0..3 {
        let program = Program::new("/usr/bin/curl").args(["--silent", "--noproxy", "", &url]);
        let Some(mut command) = of_another_user(program) else {
            return;
        };
        let outcome = run(&mut command);
        // curl may see the reset before or after it has sent its request
        assert!(
            outcome.stdout.is_empty() && [7, 52, 56].contains(&outcome.code()),
            "{outcome}"
        );
    }
    let line = forward.complains("was refused");
    assert!(line.contains("a process of user 65534 was refused"), "{line}");
    let program = Program::new("/usr/bin/curl").args([
        "--silent",
        "--socks5-hostname",
        &socks.to_string(),
        "http://web/",
    ]);
    let Some(mut command) = of_another_user(program) else {
        return;
    };
    assert_eq!(run(&mut command).stdout, "");
    forward.complains("by SOCKS5: a process of user 65534 was refused");
    curl(&[url]).succeeded().prints("hello from web\n");
    let (_, rest) = forward.interrupt();
    assert!(!rest.iter().any(|line| line.contains("refused")), "{rest:?}");
}

#[test]
fn datagram_of_another_user_is_dropped() {
    let Some(fixture) = Fixture::new(Kind::Sandbox) else {
        return;
    };
    let forward = Forward::start(fixture.testbed(), &["echo", ":7000/udp"]);
    let port = forward.local().port().to_string();
    const ASK: &str = "import socket, sys\n\
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
        s.settimeout(float(sys.argv[2]))\n\
        s.sendto(b'hello', ('127.0.0.1', int(sys.argv[1])))\n\
        print(s.recv(10))";
    let ask = |seconds: &str| Program::new("/usr/bin/python3").args(["-Sc", ASK, &port, seconds]);
    let Some(mut command) = of_another_user(ask("1")) else {
        return;
    };
    assert_eq!(run(&mut command).stdout, "");
    forward.complains("a process of user 65534 was refused");
    run(&mut ask("20").command()).succeeded().prints("b'hello'\n");
}
