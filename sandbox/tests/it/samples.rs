//! What each of the sample services does to a connection.

use std::io::ErrorKind;
use std::net::SocketAddr;

use kinject_sandbox::serve::{Gate, Protocol, Samples};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::support::DEADLINE;

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn samples() -> Samples {
    Samples::new(Gate::from_descriptor_limit().unwrap())
}

async fn connect(samples: &mut Samples, protocol: Protocol) -> TcpStream {
    TcpStream::connect(samples.tcp(protocol, any()).unwrap())
        .await
        .unwrap()
}

async fn read_to_string(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    text
}

#[tokio::test]
async fn echo_returns_every_byte_and_eof() {
    let mut samples = samples();
    let stream = connect(&mut samples, Protocol::Echo).await;
    let (mut reader, mut writer) = stream.into_split();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 253) as u8).collect();
    let copy = sent.clone();
    let write = tokio::spawn(async move {
        writer.write_all(&copy).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    timeout(DEADLINE, reader.read_to_end(&mut received))
        .await
        .unwrap()
        .unwrap();
    write.await.unwrap();
    assert!(received == sent);
}

#[tokio::test]
async fn discard_reads_everything_and_answers_nothing() {
    let mut samples = samples();
    let mut stream = connect(&mut samples, Protocol::Discard).await;
    timeout(DEADLINE, stream.write_all(&vec![1; 8_000_000]))
        .await
        .unwrap()
        .unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_string(&mut stream).await, "");
}

#[tokio::test]
async fn source_writes_its_pattern_without_end() {
    let mut samples = samples();
    let mut stream = connect(&mut samples, Protocol::Source).await;
    let mut received = vec![0; 5_000_000];
    timeout(DEADLINE, stream.read_exact(&mut received))
        .await
        .unwrap()
        .unwrap();
    assert!(
        received
            .iter()
            .enumerate()
            .all(|(index, byte)| usize::from(*byte) == index % 251)
    );
}

#[tokio::test]
async fn half_close_reports_the_bytes_received_before_eof() {
    let mut samples = samples();
    let mut stream = connect(&mut samples, Protocol::HalfClose).await;
    stream.write_all(&vec![1; 1_234_567]).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_string(&mut stream).await, "1234567 bytes\n");
}

#[tokio::test]
async fn reset_resets_after_one_byte() {
    let mut samples = samples();
    let mut stream = connect(&mut samples, Protocol::Reset).await;
    stream.write_all(b"x").await.unwrap();
    let error = timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn greeting_welcomes_and_closes() {
    let mut samples = samples();
    let mut stream = connect(&mut samples, Protocol::Greeting).await;
    assert_eq!(read_to_string(&mut stream).await, "welcome\n");
}

#[tokio::test]
async fn stalled_accepts_only_what_kernel_buffers_hold() {
    let mut samples = samples();
    let mut stream = connect(&mut samples, Protocol::Stalled).await;
    // More than any socket buffer; that it does not fit shows when both sides have nothing left to do.
    let block = vec![1; 64 * 1024 * 1024];
    let stuck = timeout(std::time::Duration::from_secs(1), stream.write_all(&block)).await;
    assert!(stuck.is_err(), "a stalled service took everything");
}

#[tokio::test]
async fn whoami_returns_the_peer_address() {
    let mut samples = samples();
    let mut stream = connect(&mut samples, Protocol::Whoami).await;
    let local = stream.local_addr().unwrap();
    assert_eq!(
        read_to_string(&mut stream).await,
        format!("{} {}\n", local.ip(), local.port())
    );
}

#[tokio::test]
async fn whoami_prints_an_ipv4_peer_unmapped_on_a_dual_stack_listener() {
    let mut samples = samples();
    let address = samples.tcp(Protocol::Whoami, "[::]:0".parse().unwrap()).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", address.port())).await.unwrap();
    assert!(read_to_string(&mut stream).await.starts_with("127.0.0.1 "));
}

#[tokio::test]
async fn udp_echo_sends_back_the_largest_datagram() {
    let mut samples = samples();
    let address = samples.udp(any()).unwrap();
    let socket = UdpSocket::bind(any()).await.unwrap();
    for length in [0, 1, 65_507] {
        let sent = vec![7; length];
        socket.send_to(&sent, address).await.unwrap();
        let mut received = vec![0; 65_536];
        let (got, from) = timeout(DEADLINE, socket.recv_from(&mut received))
            .await
            .unwrap()
            .unwrap();
        assert_eq!((&received[..got], from), (&sent[..], address));
    }
}

#[tokio::test]
async fn thousands_of_connections_are_served_at_once() {
    let mut samples = samples();
    let address = samples.tcp(Protocol::Echo, any()).unwrap();
    let mut streams = Vec::new();
    for _ in 0..3000 {
        streams.push(
            timeout(DEADLINE, TcpStream::connect(address))
                .await
                .unwrap()
                .unwrap(),
        );
    }
    for stream in &mut streams {
        stream.write_all(b"x").await.unwrap();
    }
    for stream in &mut streams {
        assert_eq!(timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap(), b'x');
    }
}
