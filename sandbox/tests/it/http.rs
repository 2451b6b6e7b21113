//! The HTTP service, by requests written out as they go over the wire.

use std::net::SocketAddr;

use kinject_sandbox::serve::{Gate, Samples};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::DEADLINE;

/// Sends `requests`, the last of which asks to close, and returns everything that came back.
async fn exchange(requests: &str) -> String {
    let mut samples = Samples::new(Gate::from_descriptor_limit().unwrap());
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let address = samples.http(any, "somebody").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut answers = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answers))
        .await
        .unwrap()
        .unwrap();
    answers
}

fn request(line: &str, rest: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: somebody\r\nConnection: close\r\n{rest}\r\n")
}

#[tokio::test]
async fn get_root_returns_the_greeting_with_the_name() {
    let answer = exchange(&request("GET /", "")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-length: 20\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello from somebody\n"), "{answer}");
}

#[tokio::test]
async fn connection_is_kept_alive_for_the_next_request() {
    let first = "GET / HTTP/1.1\r\nHost: somebody\r\n\r\n";
    let answers = exchange(&(first.repeat(3) + &request("GET /", ""))).await;
    assert_eq!(answers.matches("hello from somebody\n").count(), 4);
}

#[tokio::test]
async fn get_bytes_returns_the_requested_number() {
    let answer = exchange(&request("GET /bytes/1000000", "")).await;
    assert!(answer.contains("content-length: 1000000\r\n"));
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), 1_000_000);
    let answer = exchange(&request("GET /bytes/0", "")).await;
    assert!(answer.contains("content-length: 0\r\n"), "{answer}");
}

#[tokio::test]
async fn head_returns_the_length_without_a_body() {
    let answer = exchange(&request("HEAD /bytes/123", "")).await;
    assert!(answer.contains("content-length: 123\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn post_returns_the_received_length() {
    let answer =
        exchange(&request("POST /", "Content-Length: 5\r\n").replace("\r\n\r\n", "\r\n\r\nhello")).await;
    assert!(answer.ends_with("\r\n\r\n5 bytes\n"), "{answer}");
    let chunked = request("POST /", "Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    let answer = exchange(&chunked).await;
    assert!(answer.ends_with("\r\n\r\n7 bytes\n"), "{answer}");
}

#[tokio::test]
async fn unknown_path_or_method_is_an_http_error() {
    for (line, status) in [
        ("GET /nothing", "404 Not Found"),
        ("GET /bytes/many", "400 Bad Request"),
        ("DELETE /", "405 Method Not Allowed"),
        ("POST /bytes/1", "405 Method Not Allowed"),
    ] {
        let answer = exchange(&request(line, "")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
    }
}
