//! A man in the middle of relay and agent, who reads, changes and injects bytes after both ends are authenticated.

#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kinject_tunnel::Security;
use support::{World, read_all, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};

const SECRET: &[u8] = b"a password that is nobody else's";

/// DATA on the first stream of a connection (RFC 9113, 6.1).
const INJECTED: &[u8] = b"\x00\x00\x04\x00\x00\x00\x00\x00\x01evil";

/// What the man in the middle does with the next bytes.
#[derive(Clone, Copy, PartialEq)]
enum Tampering {
    Nothing,
    /// Changes one byte of them.
    Change,
    /// Sends other bytes before them.
    Inject,
}

/// A man in the middle of two streams.
struct Middle {
    tampering: watch::Sender<Tampering>,
    seen: Arc<Mutex<Vec<u8>>>,
    tampered: Arc<AtomicUsize>,
}

impl Middle {
    /// Returns the streams of relay and agent, and the man in the middle.
    fn new() -> (DuplexStream, DuplexStream, Middle) {
        const BUFFER: usize = 64 * 1024;
        let ((relay, from_relay), (from_agent, agent)) = (duplex(BUFFER), duplex(BUFFER));
        let ((relay_read, relay_write), (agent_read, agent_write)) = (split(from_relay), split(from_agent));
        let middle = Middle {
            tampering: watch::channel(Tampering::Nothing).0,
            seen: Arc::default(),
            tampered: Arc::default(),
        };
        for (from, to) in [(relay_read, agent_write), (agent_read, relay_write)] {
            tokio::spawn(forward(
                from,
                to,
                middle.tampering.subscribe(),
                middle.seen.clone(),
                middle.tampered.clone(),
            ));
        }
        (relay, agent, middle)
    }

    async fn has_seen(&self, bytes: &[u8]) -> bool {
        self.seen
            .lock()
            .await
            .windows(bytes.len())
            .any(|seen| seen == bytes)
    }
}

async fn forward(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    tampering: watch::Receiver<Tampering>,
    seen: Arc<Mutex<Vec<u8>>>,
    tampered: Arc<AtomicUsize>,
) {
    let mut block = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut block).await {
        let bytes = &mut block[..count];
        seen.lock().await.extend_from_slice(bytes);
        let tampering = *tampering.borrow();
        match tampering {
            Tampering::Nothing => {}
            Tampering::Change => bytes[count - 1] ^= 1,
            Tampering::Inject => to.write_all(INJECTED).await.unwrap(),
        }
        // an end that has closed the connection does not read any more
        if to.write_all(bytes).await.is_err() {
            return;
        }
        if tampering != Tampering::Nothing {
            tampered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn send(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).await.unwrap();
    let mut received = vec![0; bytes.len()];
    soon(to.read_exact(&mut received)).await.unwrap();
    assert_eq!(received, bytes);
}

#[tokio::test]
async fn tls_bytes_cannot_be_read_in_transit() {
    let (ours, theirs, middle) = Middle::new();
    let world = World::secured(Box::new(ours), Box::new(theirs), Security::Tls).await;
    let (mut program, mut service, _relay) = world.connection().await;
    send(&mut program, &mut service, SECRET).await;
    send(&mut service, &mut program, SECRET).await;
    assert!(!middle.has_seen(&SECRET[..8]).await);
}

#[tokio::test]
async fn modified_or_injected_tls_byte_breaks_the_tunnel_and_is_not_delivered() {
    for tampering in [Tampering::Change, Tampering::Inject] {
        for upwards in [true, false] {
            let (ours, theirs, middle) = Middle::new();
            let world = World::secured(Box::new(ours), Box::new(theirs), Security::Tls).await;
            let (mut program, mut service, _relay) = world.connection().await;
            send(&mut program, &mut service, b"before").await;
            middle.tampering.send(tampering).unwrap();
            let (from, to) = match upwards {
                true => (&mut program, &mut service),
                false => (&mut service, &mut program),
            };
            from.write_all(b"after").await.unwrap();
            let (received, _) = read_all(to)
                .await
                .expect_err("the connection ended without an error");
            assert_eq!(received, b"");
            soon(world.driver).await.unwrap();
            assert!(middle.tampered.load(Ordering::Relaxed) > 0);
        }
    }
}

/// Shows why networks need TLS, and that the man in the middle of these tests can read and inject bytes.
#[tokio::test]
async fn bytes_after_a_proof_can_be_read_and_injected_in_transit() {
    let (ours, theirs, middle) = Middle::new();
    let world = World::secured(Box::new(ours), Box::new(theirs), Security::Proof).await;
    let (mut program, mut service, _relay) = world.connection().await;
    send(&mut program, &mut service, SECRET).await;
    assert!(middle.has_seen(SECRET).await);
    middle.tampering.send(Tampering::Inject).unwrap();
    program.write_all(b"after").await.unwrap();
    let mut received = [0; 4];
    soon(service.read_exact(&mut received)).await.unwrap();
    assert_eq!(&received, b"evil");
}
