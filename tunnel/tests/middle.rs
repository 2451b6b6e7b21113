//! Somebody between relay and agent, who reads, changes and inserts bytes after both ends have proven themselves.

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

/// What happens to what is sent next.
#[derive(Clone, Copy, PartialEq)]
enum Deed {
    Nothing,
    /// A byte of it is changed.
    Change,
    /// Something is put in front of it.
    Inject,
}

/// A man in the middle of two streams.
struct Middle {
    deed: watch::Sender<Deed>,
    seen: Arc<Mutex<Vec<u8>>>,
    done: Arc<AtomicUsize>,
}

impl Middle {
    /// Takes his place, and returns the stream of either end.
    fn new() -> (DuplexStream, DuplexStream, Middle) {
        const HELD: usize = 64 * 1024;
        let ((relay, from_relay), (from_agent, agent)) = (duplex(HELD), duplex(HELD));
        let ((relay_read, relay_write), (agent_read, agent_write)) = (split(from_relay), split(from_agent));
        let middle = Middle {
            deed: watch::channel(Deed::Nothing).0,
            seen: Arc::default(),
            done: Arc::default(),
        };
        for (from, to) in [(relay_read, agent_write), (agent_read, relay_write)] {
            tokio::spawn(pass_on(
                from,
                to,
                middle.deed.subscribe(),
                middle.seen.clone(),
                middle.done.clone(),
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

async fn pass_on(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    deed: watch::Receiver<Deed>,
    seen: Arc<Mutex<Vec<u8>>>,
    done: Arc<AtomicUsize>,
) {
    let mut block = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut block).await {
        let bytes = &mut block[..count];
        seen.lock().await.extend_from_slice(bytes);
        let deed = *deed.borrow();
        match deed {
            Deed::Nothing => {}
            Deed::Change => bytes[count - 1] ^= 1,
            Deed::Inject => to.write_all(INJECTED).await.unwrap(),
        }
        // an end that has had enough reads no more
        if to.write_all(bytes).await.is_err() {
            return;
        }
        if deed != Deed::Nothing {
            done.fetch_add(1, Ordering::Relaxed);
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
    for deed in [Deed::Change, Deed::Inject] {
        for upwards in [true, false] {
            let (ours, theirs, middle) = Middle::new();
            let world = World::secured(Box::new(ours), Box::new(theirs), Security::Tls).await;
            let (mut program, mut service, _relay) = world.connection().await;
            send(&mut program, &mut service, b"before").await;
            middle.deed.send(deed).unwrap();
            let (from, to) = match upwards {
                true => (&mut program, &mut service),
                false => (&mut service, &mut program),
            };
            from.write_all(b"after").await.unwrap();
            let (received, _) = read_all(to)
                .await
                .expect_err("the connection ends as if all were well");
            assert_eq!(received, b"");
            soon(world.driver).await.unwrap();
            assert!(middle.done.load(Ordering::Relaxed) > 0);
        }
    }
}

/// Why networks need TLS, and what shows that the man in the middle of these tests is one.
#[tokio::test]
async fn bytes_after_a_proof_can_be_read_and_injected_in_transit() {
    let (ours, theirs, middle) = Middle::new();
    let world = World::secured(Box::new(ours), Box::new(theirs), Security::Proof).await;
    let (mut program, mut service, _relay) = world.connection().await;
    send(&mut program, &mut service, SECRET).await;
    assert!(middle.has_seen(SECRET).await);
    middle.deed.send(Deed::Inject).unwrap();
    program.write_all(b"after").await.unwrap();
    let mut received = [0; 4];
    soon(service.read_exact(&mut received)).await.unwrap();
    assert_eq!(&received, b"evil");
}
