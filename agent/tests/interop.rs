//! Independent HTTP/2 clients, behind the proof: the agent conforms to the standards.

#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

mod support;

use std::process::Stdio;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, StatusCode};
use kinject_tunnel::{Endpoint, RelayIdentity, Security, link};
use support::{Agent, relay, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, UnixListener};

/// A plain HTTP/2 client with default settings.
async fn client(endpoint: &Endpoint, identity: &RelayIdentity) -> SendRequest<Bytes> {
    let stream = endpoint.connect().await.unwrap();
    let (stream, _) = link::open(stream, identity, Security::Proof).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

fn connect(authority: &str) -> Request<()> {
    Request::builder()
        .method(Method::CONNECT)
        .uri(authority)
        .body(())
        .unwrap()
}

#[tokio::test]
async fn plain_http2_client_connects_through_the_agent() {
    let agent = Agent::start(&[]);
    let mut client = soon(client(&agent.socket(), &relay(&agent.key()))).await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (response, mut send) = client
        .send_request(connect(&service.local_addr().unwrap().to_string()), false)
        .unwrap();
    let response = soon(response).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);

    let (mut accepted, _) = service.accept().await.unwrap();
    send.send_data("ping".into(), true).unwrap();
    let mut received = Vec::new();
    soon(accepted.read_to_end(&mut received)).await.unwrap();
    assert_eq!(received, b"ping");
    accepted.write_all(b"pong").await.unwrap();
    drop(accepted);
    let mut body = response.into_body();
    let mut answer = Vec::new();
    while let Some(part) = soon(body.data()).await {
        answer.extend_from_slice(&part.unwrap());
    }
    assert_eq!(answer, b"pong");
}

#[tokio::test]
async fn refused_connect_returns_502_with_proxy_status() {
    let agent = Agent::start(&[]);
    let mut client = soon(client(&agent.socket(), &relay(&agent.key()))).await;
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let (response, _send) = client.send_request(connect(&closed.to_string()), false).unwrap();
    let response = soon(response).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(
        response.headers()["proxy-status"],
        "kinject-agent;error=connection_refused"
    );
}

#[tokio::test]
async fn unknown_paths_methods_and_media_types_return_their_http_status() {
    let agent = Agent::start(&[]);
    let mut client = soon(client(&agent.socket(), &relay(&agent.key()))).await;
    for (method, path, media_type, expected) in [
        (Method::GET, "/", "", StatusCode::NOT_FOUND),
        (
            Method::POST,
            "/.well-known/kinject",
            "",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            Method::GET,
            "/dns-query?dns=AAAA",
            "",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            Method::POST,
            "/dns-query",
            "text/plain",
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            Method::POST,
            "/dns-query",
            "application/dns-message",
            StatusCode::BAD_REQUEST,
        ),
    ] {
        let request = Request::builder()
            .method(&method)
            .uri(format!("http://agent{path}"))
            .header("content-type", media_type)
            .body(())
            .unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        assert_eq!(
            soon(response).await.unwrap().status(),
            expected,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn curl_reads_the_facts() {
    let agent = Agent::start(&[]);
    let (endpoint, identity) = (agent.socket(), relay(&agent.key()));
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("bridge.sock");
    let bridge = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let (mut curl, _) = bridge.accept().await.unwrap();
        let stream = endpoint.connect().await.unwrap();
        let (mut stream, _) = link::open(stream, &identity, Security::Proof).await.unwrap();
        let _ = copy_bidirectional(&mut curl, &mut stream).await;
    });
    let curl = tokio::process::Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--http2-prior-knowledge",
            "--write-out",
            "\n%{http_version}",
        ])
        .arg("--unix-socket")
        .arg(&socket)
        .arg("http://agent/.well-known/kinject")
        .stdin(Stdio::null())
        .output();
    let output = match soon(curl).await {
        Ok(output) => output,
        // The test needs curl.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return eprintln!("no curl here: not tested");
        }
        Err(error) => panic!("{error}"),
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.contains("\"resolv_conf\"") && text.ends_with("\n2"),
        "{text}"
    );
}
