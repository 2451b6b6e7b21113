//! The start, the protection and the end of an agent that is run by hand.

#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

mod support;

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use kinject_tunnel::{CloseReason, Endpoint, SpliceEnd};
use support::{Agent, open, pair, relay, soon, through};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

/// The number of this machine's sockets that are connecting to the port.
fn dials_under_way(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let (remote, syn_sent) = (format!(":{port:04X}"), "02");
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(2).is_some_and(|address| address.ends_with(&remote)))
        .filter(|fields| fields.get(3) == Some(&syn_sent))
        .count()
}

async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn cancelled_dial_ends_at_the_agent_at_once() {
    let agent = Agent::start(&[]);
    let (tunnel, _driver) = agent.tunnel().await;
    // A listener with a full backlog: further attempts get no answer.
    let full = TcpSocket::new_v4().unwrap();
    full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = full.listen(0).unwrap();
    let address = full.local_addr().unwrap();
    let _waiting = tokio::net::TcpStream::connect(address).await.unwrap();

    let dial = tokio::spawn({
        let tunnel = tunnel.clone();
        async move { tunnel.connect(&address.to_string()).await.map(drop) }
    });
    until(|| dials_under_way(address.port()) > 0).await;
    dial.abort();
    until(|| dials_under_way(address.port()) == 0).await;
    soon(tunnel.facts()).await.unwrap();
}

#[tokio::test]
async fn several_relays_are_served_at_once() {
    let agent = Agent::start(&[]);
    let (endpoint, identity) = (agent.socket(), relay(&agent.key()));
    let tunnels = [open(&endpoint, &identity).await, open(&endpoint, &identity).await];
    for (tunnel, _) in &tunnels {
        soon(tunnel.facts()).await.unwrap();
    }
}

#[tokio::test]
async fn garbage_after_the_proof_ends_only_that_tunnel() {
    let agent = Agent::start(&[]);
    let (endpoint, identity) = (agent.socket(), relay(&agent.key()));
    let (good, _driver) = open(&endpoint, &identity).await;
    let stream = endpoint.connect().await.unwrap();
    let (mut stream, _) = kinject_tunnel::link::open(stream, &identity, kinject_tunnel::Security::Proof)
        .await
        .unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    stream.write_all(&[0xff; 4096]).await.unwrap();
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
    soon(good.facts()).await.unwrap();
}

#[tokio::test]
async fn sigterm_ends_the_agent_and_resets_open_connections() {
    if !support::enters_own_network() {
        return;
    }
    let mut agent = Agent::start(&[]);
    let (tunnel, driver) = agent.tunnel().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut program = through(&tunnel, &service.local_addr().unwrap().to_string()).await;
    let (_accepted, _) = service.accept().await.unwrap();
    agent.signal("-TERM");
    let error = soon(program.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(soon(driver).await.unwrap(), CloseReason::PeerClosed);
    assert!(agent.ended().success());
    assert!(!agent.folder.path().join("agent.sock").exists());
}

#[tokio::test]
async fn bytes_before_close_are_delivered_after_relay_and_agent_end() {
    const MANY_BYTES: usize = 6_000_000;
    if !support::enters_own_network() {
        return;
    }
    let mut agent = Agent::start(&[]);
    let (tunnel, driver) = agent.tunnel().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = tunnel
        .connect(&service.local_addr().unwrap().to_string())
        .await
        .unwrap();
    let (mut program, relay) = pair().await;
    let connection = tokio::spawn(kinject_tunnel::splice(relay, stream, || true));
    let (mut service, _) = service.accept().await.unwrap();
    soon(program.write_all(&vec![b's'; MANY_BYTES])).await.unwrap();
    drop(program);
    assert_eq!(soon(connection).await.unwrap().end, SpliceEnd::Finished);
    soon(tunnel.facts()).await.unwrap();
    drop(tunnel);
    assert_eq!(soon(driver).await.unwrap(), CloseReason::Finished);
    agent.line("tunnel closed");
    agent.signal("-TERM");
    let timed_out = tokio::time::timeout(Duration::from_secs(2), std::future::pending::<()>()).await;
    assert!(timed_out.is_err() && agent.process.try_wait().unwrap().is_none());
    let mut received = Vec::new();
    soon(service.read_to_end(&mut received)).await.unwrap();
    assert_eq!(received.len(), MANY_BYTES);
    drop(service);
    assert!(agent.ended().success());
}

/// A user who sends the signal twice does not want to wait.
#[tokio::test]
async fn second_signal_ends_the_agent_at_once() {
    if !support::enters_own_network() {
        return;
    }
    let mut agent = Agent::start(&[]);
    let (tunnel, _driver) = agent.tunnel().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = service.local_addr().unwrap().to_string();
    let stream = tunnel.connect(&address).await.unwrap();
    let (mut program, relay) = pair().await;
    let connection = tokio::spawn(kinject_tunnel::splice(relay, stream, || true));
    let (_unread, _) = service.accept().await.unwrap();
    soon(program.write_all(&vec![b's'; 6_000_000])).await.unwrap();
    drop(program);
    assert_eq!(soon(connection).await.unwrap().end, SpliceEnd::Finished);
    agent.signal("-TERM");
    agent.line("stopping");
    agent.signal("-TERM");
    agent.line("not waiting");
    assert!(agent.ended().success());
}

#[tokio::test]
async fn two_thousand_connections_are_open_at_once() {
    let agent = Agent::start(&[]);
    let (tunnel, _driver) = agent.tunnel().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = service.local_addr().unwrap().to_string();
    let mut open = Vec::new();
    for _ in 0..2000 {
        // Only the stream is kept: a pair of sockets for each would exceed this test's limit of descriptors.
        let stream = soon(tunnel.connect(&address)).await.unwrap();
        let (accepted, _) = soon(service.accept()).await.unwrap();
        drop(accepted);
        open.push(stream);
    }
    soon(tunnel.facts()).await.unwrap();
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Agent::command();
    let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn startup_errors_name_their_cause() {
    let (code, _, output) = run(&["--listen", "nowhere"]);
    assert_eq!(code, Some(2));
    assert!(
        output.starts_with("kinject-agent: error: `nowhere` is not an address")
            && output.contains("\n\nhint: "),
        "{output}"
    );

    let (code, _, output) = run(&["--listen", "tcp:127.0.0.1:0", "--key", "/nonexistent"]);
    assert_eq!(code, Some(1));
    assert!(
        output.contains("cannot read the key file /nonexistent: "),
        "{output}"
    );

    let agent = Agent::start(&[]);
    let Endpoint::Unix(path) = agent.socket() else {
        panic!("not a Unix socket")
    };
    let (listen, key) = (format!("unix:{}", path.display()), agent.key());
    let (code, _, output) = run(&["--listen", &listen, "--key", key.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(output.contains("another process listens on"), "{output}");
}

#[test]
fn key_readable_by_others_is_refused_with_a_chmod_hint() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    support::write_key(&key);
    std::fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let (code, _, output) = run(&["--listen", "tcp:127.0.0.1:0", "--key", key.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    let key = key.display();
    assert!(
        output.contains(&format!(
            "the key file {key} can be read or written by others (mode 0644)"
        )),
        "{output}"
    );
    assert!(
        output.contains(&format!("\n\nhint: `chmod 600 {key}`")),
        "{output}"
    );
}

#[test]
fn same_user_processes_cannot_read_the_agents_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (program, key) = (folder.path().join("kinject-agent"), folder.path().join("key"));
    kinject_test_support::program::copy(env!("CARGO_BIN_EXE_kinject-agent"), &program);
    support::write_key(&key);
    let mut command = std::process::Command::new(&program);
    command.args(["--listen", "tcp:127.0.0.1:0", "--key"]).arg(&key);
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        // files of root's processes belong to root in any case
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        chown(&key, Some(12345), None).unwrap();
        command.uid(12345).gid(12345);
    }
    let agent = Agent::run(command, folder);
    agent.line("listening on");
    let owner = |name: &str| {
        let file = format!("/proc/{}/{name}", agent.process.id());
        std::fs::metadata(file).unwrap().uid()
    };
    // the kernel gives these files of a process that is not dumpable to root (proc(5))
    assert_eq!((owner("mem"), owner("environ")), (0, 0));
}

#[test]
fn version_and_help_are_printed_on_stdout() {
    let (code, output, _) = run(&["--version"]);
    assert_eq!(code, Some(0));
    assert!(
        output.starts_with(&format!("kinject-agent {}", env!("CARGO_PKG_VERSION"))),
        "{output}"
    );
    let (code, output, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(output.contains("--listen ENDPOINT"), "{output}");
}
