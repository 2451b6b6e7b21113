//! An agent as in a pod: its session's keys in a file, TLS behind an upgrade, and an exit after the grace period.

#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

mod support;

use std::io;
use std::process::Command;
use std::time::Duration;

use kinject_tunnel::{
    CloseReason, Endpoint, OpenError, RelayIdentity, Security, SessionKeys, Stream, Tunnel, lanes, link,
};
use support::{Agent, pair, soon};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const UPGRADE: &[u8] =
    b"GET /tunnel HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: Upgrade\r\nUpgrade: kinject\r\n\r\n";

struct Pod {
    agent: Agent,
    proxy: Endpoint,
    forward: Endpoint,
}

/// The command of an agent with this identity file, and the file's folder.
fn with_identity(text: &str) -> (Command, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("identity");
    std::fs::write(&file, text).unwrap();
    let mut command = Agent::command();
    command.arg("--identity").arg(file);
    (command, folder)
}

fn pod(keys: &SessionKeys, grace: &str) -> Pod {
    let (mut command, folder) = with_identity(&keys.agent);
    command.args([
        "--listen-forward",
        "127.0.0.1:0",
        "--listen-proxy",
        "127.0.0.1:0",
        "--grace",
        grace,
    ]);
    let agent = Agent::run(command, folder);
    let forward = agent.endpoint("listening on");
    let proxy = agent.endpoint("API server's proxy");
    Pod {
        agent,
        proxy,
        forward,
    }
}

#[test]
fn signal_that_an_image_stops_its_pods_with_ends_the_agent_in_order() {
    for signal in ["-TERM", "-HUP", "-QUIT", "-WINCH", "-USR1", "-USR2", "-RTMIN+3"] {
        let mut pod = pod(&SessionKeys::generate().unwrap(), "120");
        pod.agent.signal(signal);
        pod.agent.line("stopping: SIG");
        assert!(pod.agent.ended().success(), "{signal}");
    }
}

async fn upgraded(proxy: &Endpoint) -> io::Result<Stream> {
    let mut stream = proxy.connect().await?;
    stream.write_all(UPGRADE).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 101 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    Ok(stream)
}

async fn tls(pod: &Pod, identity: &RelayIdentity) -> Result<(Tunnel, JoinHandle<CloseReason>), OpenError> {
    let stream = upgraded(&pod.proxy).await?;
    let (tunnel, driver) = Tunnel::open(stream, identity, Security::Tls).await?;
    Ok((tunnel, tokio::spawn(driver)))
}

#[tokio::test]
async fn bytes_pass_through_the_upgrade_and_tls() {
    let keys = SessionKeys::generate().unwrap();
    let pod = pod(&keys, "60");
    let (tunnel, _driver) = soon(tls(&pod, &keys.relay)).await.unwrap();
    assert_eq!(tunnel.agent().session, keys.relay.session());

    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = soon(tunnel.connect(&service.local_addr().unwrap().to_string()))
        .await
        .unwrap();
    let (mut program, relay) = pair().await;
    tokio::spawn(kinject_tunnel::splice(relay, stream, || false));
    let (mut accepted, _) = service.accept().await.unwrap();
    let megabyte: Vec<u8> = (0..1 << 20).map(|at| at as u8).collect();
    let sent = megabyte.clone();
    tokio::spawn(async move {
        accepted.write_all(&sent).await.unwrap();
    });
    let mut received = Vec::new();
    soon(program.read_to_end(&mut received)).await.unwrap();
    assert!(received == megabyte, "{} bytes", received.len());
}

#[tokio::test]
async fn port_forward_carries_two_lanes_with_and_without_tls() {
    let keys = SessionKeys::generate().unwrap();
    let pod = pod(&keys, "60");
    for security in [Security::Proof, Security::Tls] {
        let proven = async || {
            let stream = pod.forward.connect().await.unwrap();
            link::open(stream, &keys.relay, security).await.unwrap()
        };
        let (stream, agent) = soon(proven()).await;
        let (stream, second) = lanes::begin(stream).await.unwrap();
        let (tunnel, driver) = soon(Tunnel::over(stream, agent)).await.unwrap();
        let driver = tokio::spawn(driver);
        let version = soon(tunnel.facts()).await.unwrap().version;
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        second.join(soon(proven()).await.0).await.unwrap();
        pod.agent.line("second lane");
        soon(tunnel.facts()).await.unwrap();
        driver.abort();
    }
}

#[tokio::test]
async fn keys_of_another_session_are_refused() {
    let (keys, others) = (SessionKeys::generate().unwrap(), SessionKeys::generate().unwrap());
    let pod = pod(&keys, "60");
    let error = soon(tls(&pod, &others.relay)).await.unwrap_err();
    assert!(matches!(error, OpenError::NotProven), "{error:?}");
    let stream = pod.forward.connect().await.unwrap();
    let error = soon(Tunnel::open(stream, &others.relay, Security::Proof))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::NotProven), "{error:?}");
    soon(tls(&pod, &keys.relay)).await.unwrap();
}

#[tokio::test]
async fn garbage_at_the_pods_address_is_closed_without_an_answer() {
    let keys = SessionKeys::generate().unwrap();
    let pod = pod(&keys, "60");
    for garbage in [
        b"\x00\x01garbage\r\n\r\n".as_slice(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[b'x'; 100_000],
    ] {
        let mut stream = pod.proxy.connect().await.unwrap();
        // The agent may close before all of it is sent.
        let _ = stream.write_all(garbage).await;
        let mut answer = Vec::new();
        let _ = soon(stream.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"");
        pod.agent.line("refused");
    }
    soon(tls(&pod, &keys.relay)).await.unwrap();
}

#[tokio::test]
async fn agent_without_a_relay_exits_after_the_grace_period() {
    if !support::enters_own_network() {
        return;
    }
    let keys = SessionKeys::generate().unwrap();
    let mut pod = pod(&keys, "1");
    assert!(pod.agent.ended().success());
    pod.agent.line("no relay has spoken for 1 seconds");
}

#[tokio::test]
async fn agent_exits_a_grace_period_after_its_last_tunnel_closes() {
    if !support::enters_own_network() {
        return;
    }
    let keys = SessionKeys::generate().unwrap();
    let mut pod = pod(&keys, "1");
    let (tunnel, driver) = soon(tls(&pod, &keys.relay)).await.unwrap();
    let timed_out = tokio::time::timeout(Duration::from_secs(2), std::future::pending::<()>()).await;
    assert!(timed_out.is_err() && pod.agent.process.try_wait().unwrap().is_none());
    soon(tunnel.facts()).await.unwrap();
    drop(tunnel);
    assert_eq!(soon(driver).await.unwrap(), CloseReason::Finished);
    pod.agent.line("tunnel closed");
    assert!(pod.agent.ended().success());
}

#[tokio::test]
async fn unreadable_identity_exits_1_with_the_reason() {
    let (mut command, folder) = with_identity("{}");
    command.args(["--listen", "tcp:127.0.0.1:0"]);
    let mut agent = Agent::run(command, folder);
    assert_eq!(agent.ended().code(), Some(1));
    agent.line("/identity: the agent's identity is not readable");
}

#[tokio::test]
async fn missing_identity_file_is_named_in_the_error() {
    let mut command = Agent::command();
    command.args(["--listen", "tcp:127.0.0.1:0", "--identity", "/no/such/identity"]);
    let mut agent = Agent::run(command, tempfile::tempdir().unwrap());
    assert_eq!(agent.ended().code(), Some(1));
    agent.line("cannot read --identity /no/such/identity: No such file or directory");
}

#[tokio::test]
async fn identity_in_the_environment_is_not_read() {
    let keys = SessionKeys::generate().unwrap();
    let mut command = Agent::command();
    command
        .env("KINJECT_AGENT_IDENTITY", &keys.agent)
        .args(["--listen", "tcp:127.0.0.1:0"]);
    let mut agent = Agent::run(command, tempfile::tempdir().unwrap());
    assert_eq!(agent.ended().code(), Some(2));
    agent.line("it needs --key FILE, or --identity FILE in a pod");
}
