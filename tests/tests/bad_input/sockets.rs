//! Other users' connections and garbage at the session's control socket and data sockets.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kinject_protocol::control::{Family, Purpose, Request};
use kinject_tests::process::{is_alive, sockets};
use kinject_tests::programs::{c, python, shell};
use kinject_tests::running::run;
use kinject_tests::session::{Session, eventually};
use kinject_tests::skip;
use kinject_tests::testbed::shared_sandbox;

fn session() -> Session {
    Session::start::<&str>(shared_sandbox(), &[])
}

/// Asserts that a program of the session can connect.
fn serves(session: &Session) {
    let ask = shell("getent hosts web && exec curl -sS http://web/");
    let mut command = session.command(&ask.path);
    let answer = run(command.args(&ask.arguments));
    answer.succeeded().shows("10.96.10.1").shows("hello from web\n");
}

#[test]
fn garbage_on_the_session_socket_leaves_the_session_working() {
    if !kinject_tests::ordinary::may_look_into_relays() {
        return;
    }
    let session = session();
    serves(&session);
    let relay = session.relay();
    let before = sockets(relay);
    let program = python("garbage.py").args([session.variable("KINJECT_SOCKET"), &session.token()]);
    let mut command = session.command(&program.path);
    let outcome = run(command.args(&program.arguments));
    outcome
        .succeeded()
        .prints("stream: Protocol wrong type for socket\n10.96.10.1\n");
    serves(&session);
    assert!(is_alive(relay));
    eventually(
        "as few sockets at the relay as before",
        Duration::from_secs(15),
        || sockets(relay) <= before,
    );
    assert_eq!(session.end(), 0);
}

#[test]
fn other_user_is_refused_by_the_session_socket() {
    if !rustix::process::geteuid().is_root() {
        skip::not_run(
            "another user at a session's socket",
            "becoming another user needs root",
        );
        return;
    }
    let session = session();
    let socket = session.variable("KINJECT_SOCKET").to_owned();
    let request = Request::Resolve {
        family: Family::V4,
        purpose: Purpose::AddressInfo,
        name: b"web",
    };
    let digits = request
        .encode()
        .to_vec()
        .into_iter()
        .map(|byte| format!("{byte:02x}"));
    let text: String = [session.token()].into_iter().chain(digits).collect();
    let connect_as = |who: &str| {
        let program = c("other_user").args([who, &socket, &text]);
        run(&mut program.command()).succeeded().stdout.clone()
    };
    assert_eq!(connect_as("self"), "an answer\n");
    assert_eq!(connect_as("nobody"), "connect: EACCES\n");
    serves(&session);
}

#[test]
fn relay_data_sockets_refuse_connections() {
    let session = session();
    serves(&session);
    let listed = run(Command::new("ss").arg("-Hltnp"));
    let of_relay = format!("pid={},", session.relay());
    let listening = listed.stdout.lines().filter(|line| line.contains(&of_relay));
    let addresses: Vec<SocketAddr> = listening
        .map(|line| line.split_whitespace().nth(3).unwrap().parse().unwrap())
        .collect();
    assert!(!addresses.is_empty(), "{listed}");
    for address in addresses {
        assert!(address.ip().is_loopback(), "{address}");
        let connected = TcpStream::connect_timeout(&address, Duration::from_millis(300));
        assert!(connected.is_err(), "a stranger is connected to {address}");
    }
    serves(&session);
}

#[test]
fn session_folder_and_its_files_are_private() {
    let session = session();
    let folder = session.folder();
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let socket = folder.join("control.sock");
    assert!(socket.exists());
}
