//! Requests through an agent process.

#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

mod support;

use kinject_tunnel::DialError;
use support::{Agent, soon, through};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn bytes_and_half_close_pass_in_both_directions() {
    let agent = Agent::start(&[]);
    let (tunnel, _driver) = agent.tunnel().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut program = through(&tunnel, &service.local_addr().unwrap().to_string()).await;
    let (mut accepted, _) = service.accept().await.unwrap();

    program.write_all(b"question").await.unwrap();
    program.shutdown().await.unwrap();
    let mut question = Vec::new();
    soon(accepted.read_to_end(&mut question)).await.unwrap();
    assert_eq!(question, b"question");

    // The other direction is still open: half-close.
    accepted.write_all(b"answer").await.unwrap();
    drop(accepted);
    let mut answer = Vec::new();
    soon(program.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"answer");
}

#[tokio::test]
async fn connect_to_a_closed_port_returns_refused() {
    let agent = Agent::start(&[]);
    let (tunnel, _driver) = agent.tunnel().await;
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = soon(tunnel.connect(&closed.to_string())).await.unwrap_err();
    assert_eq!(error, DialError::Refused);
}

/// The relay resolves names, so the agent accepts addresses only.
#[tokio::test]
async fn connect_to_a_host_name_is_rejected() {
    let agent = Agent::start(&[]);
    let (tunnel, _driver) = agent.tunnel().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("localhost:{}", service.local_addr().unwrap().port());
    let error = soon(tunnel.connect(&target)).await.unwrap_err();
    assert_eq!(
        error,
        DialError::Other(format!("`{target}` is not an address and port"))
    );
}

#[tokio::test]
async fn facts_contain_version_and_addresses() {
    let agent = Agent::start(&[]);
    let (tunnel, _driver) = agent.tunnel().await;
    let facts = soon(tunnel.facts()).await.unwrap();
    assert_eq!(facts.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(tunnel.agent().version.software, facts.version);
    assert!(facts.addresses.iter().any(|found| found.address.is_loopback()));
}
