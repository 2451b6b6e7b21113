//! Flows of datagrams through a real agent.

#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

mod support;

use kinject_tunnel::{DatagramsEnd, DialError, Tunnel, carry};
use std::net::SocketAddr;
use std::time::Duration;
use support::{Agent, DEADLINE, through};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// An idle timeout longer than any of these tests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("not within the deadline")
}

/// Two sockets that are connected to each other.
async fn pair() -> (UdpSocket, UdpSocket) {
    let ours = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let theirs = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    ours.connect(theirs.local_addr().unwrap()).await.unwrap();
    theirs.connect(ours.local_addr().unwrap()).await.unwrap();
    (ours, theirs)
}

/// A program's socket whose datagrams are sent to `target`, and the end of its flow.
async fn flow(tunnel: &Tunnel, target: SocketAddr) -> (UdpSocket, JoinHandle<DatagramsEnd>) {
    let (program, relay) = pair().await;
    let mut stream = soon(tunnel.datagrams(target)).await.unwrap();
    let carried = tokio::spawn(async move { carry(&relay, &mut stream, IDLE_TIMEOUT).await });
    (program, carried)
}

#[tokio::test]
async fn datagrams_keep_boundaries_and_order_in_both_directions() {
    let agent = Agent::start(&[]);
    let (tunnel, _driver) = agent.tunnel().await;
    let service = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (program, _carried) = flow(&tunnel, service.local_addr().unwrap()).await;
    let sizes = [0, 1, 62, 63, 64, 1_200, 16_382, 16_383, 65_507];
    let mut buffer = vec![0; 65_536];
    for (index, size) in sizes.into_iter().enumerate() {
        let datagram = vec![index as u8 + 1; size];
        program.send(&datagram).await.unwrap();
        let (length, peer) = soon(service.recv_from(&mut buffer)).await.unwrap();
        assert!(buffer[..length] == datagram, "{size} bytes there");
        service.send_to(&datagram, peer).await.unwrap();
        let length = soon(program.recv(&mut buffer)).await.unwrap();
        assert!(buffer[..length] == datagram, "{size} bytes back");
    }
    for round in 0..10_u8 {
        for index in 0..10 {
            program.send(&[round, index]).await.unwrap();
        }
        for index in 0..10 {
            let length = soon(service.recv(&mut buffer)).await.unwrap();
            assert_eq!(buffer[..length], [round, index]);
        }
    }
}

/// Each datagram is sent by its own call. What is sent at once behind the request, before the stream has window, would
/// be lost.
#[tokio::test]
async fn datagrams_of_a_split_flow_are_echoed_from_the_first_one_on() {
    let agent = Agent::start(&[]);
    let (tunnel, _driver) = agent.tunnel().await;
    let service = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = service.local_addr().unwrap();
    let (mut sender, mut receiver) = soon(tunnel.datagrams(target)).await.unwrap().into_halves();
    soon(sender.ready()).await.unwrap();
    let mut buffer = vec![0; 65_536];
    for size in [1, 0, 65_507] {
        let datagram = vec![7; size];
        assert!(sender.send(&datagram));
        let (length, peer) = soon(service.recv_from(&mut buffer)).await.unwrap();
        assert!(buffer[..length] == datagram, "{size} bytes there");
        service.send_to(&datagram, peer).await.unwrap();
        assert!(
            soon(receiver.next()).await.unwrap() == datagram,
            "{size} bytes back"
        );
    }
    drop(service);
    assert!(sender.send(b"refused"));
    let end = soon(receiver.next()).await.unwrap_err();
    assert!(
        matches!(end, DatagramsEnd::Refused(DialError::Refused)),
        "{end:?}"
    );
}

#[tokio::test]
async fn refused_datagram_ends_the_stream_and_the_next_stream_works() {
    let agent = Agent::start(&[]);
    let (tunnel, _driver) = agent.tunnel().await;
    let service = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = service.local_addr().unwrap();
    drop(service);
    let (program, carried) = flow(&tunnel, target).await;
    program.send(b"anyone?").await.unwrap();
    let end = soon(carried).await.unwrap();
    assert!(
        matches!(end, DatagramsEnd::Refused(DialError::Refused)),
        "{end:?}"
    );
    let service = UdpSocket::bind(target).await.unwrap();
    let (program, _carried) = flow(&tunnel, target).await;
    program.send(b"anyone?").await.unwrap();
    let mut buffer = [0; 16];
    let (length, peer) = soon(service.recv_from(&mut buffer)).await.unwrap();
    service.send_to(&buffer[..length], peer).await.unwrap();
    assert_eq!(soon(program.recv(&mut buffer)).await.unwrap(), 7);
}

#[tokio::test]
async fn broadcast_target_is_refused_with_permission_denied() {
    let agent = Agent::start(&[]);
    let (tunnel, _driver) = agent.tunnel().await;
    // broadcasting needs SO_BROADCAST, which the agent's socket does not have
    let mut stream = soon(tunnel.datagrams("255.255.255.255:9".parse().unwrap()))
        .await
        .unwrap();
    assert_eq!(soon(stream.opened()).await, Err(DialError::PermissionDenied));
}

#[tokio::test]
async fn cancelled_flow_closes_the_agents_socket() {
    let agent = Agent::start(&[]);
    let (tunnel, _driver) = agent.tunnel().await;
    let service = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut buffer = [0; 16];
    let (program, carried) = flow(&tunnel, service.local_addr().unwrap()).await;
    program.send(b"hello").await.unwrap();
    let (_, peer) = soon(service.recv_from(&mut buffer)).await.unwrap();
    carried.abort();
    service.connect(peer).await.unwrap();
    soon(async {
        // a closed socket is answered with ICMP port unreachable
        while service.send(b"still there?").await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn idle_flow_ends_after_its_timeout() {
    let agent = Agent::start(&[]);
    let (tunnel, _driver) = agent.tunnel().await;
    let service = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (_program, relay) = pair().await;
    let mut stream = soon(tunnel.datagrams(service.local_addr().unwrap()))
        .await
        .unwrap();
    let end = soon(carry(&relay, &mut stream, Duration::from_millis(50))).await;
    assert!(matches!(end, DatagramsEnd::Idle), "{end:?}");
}

#[tokio::test]
async fn stalled_flow_does_not_block_other_flows() {
    let agent = Agent::start(&[]);
    let (tunnel, _driver) = agent.tunnel().await;
    let service = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = service.local_addr().unwrap();
    // a stream that is not read at this end: its window is used up
    let mut stalled = soon(tunnel.datagrams(target)).await.unwrap();
    soon(stalled.opened()).await.unwrap();
    let (feeding, relay) = pair().await;
    let mut fed = soon(tunnel.datagrams(target)).await.unwrap();
    let feeder = tokio::spawn(async move { carry(&relay, &mut fed, IDLE_TIMEOUT).await });
    feeding.send(b"first").await.unwrap();
    let mut buffer = vec![0; 65_536];
    soon(service.recv_from(&mut buffer)).await.unwrap();
    let (program, _carried) = flow(&tunnel, target).await;
    for _ in 0..200 {
        feeding.send(&[1; 60_000]).await.unwrap();
    }
    program.send(b"me too").await.unwrap();
    soon(async {
        loop {
            let (length, _) = service.recv_from(&mut buffer).await.unwrap();
            if &buffer[..length] == b"me too" {
                break;
            }
        }
    })
    .await;
    feeder.abort();
}

/// The remaining window of the flow must be announced to the agent after all windows were lowered.
#[tokio::test]
async fn flow_continues_after_unread_connections_lowered_all_windows() {
    let agent = Agent::start(&[]);
    let (tunnel, _driver) = agent.tunnel().await;
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (program, _carried) = flow(&tunnel, target.local_addr().unwrap()).await;
    let exchange = async |count: usize| {
        let mut datagram = vec![7; 60_000];
        for _ in 0..count {
            program.send(&datagram).await.unwrap();
            let (length, from) = soon(target.recv_from(&mut datagram)).await.unwrap();
            target.send_to(&datagram[..length], from).await.unwrap();
            assert_eq!(soon(program.recv(&mut datagram)).await.unwrap(), 60_000);
        }
    };
    // fewer bytes than lead to a WINDOW_UPDATE
    exchange(32).await;

    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = service.local_addr().unwrap().to_string();
    let (mut unread, mut filling) = (Vec::new(), Vec::new());
    for _ in 0..30 {
        unread.push(through(&tunnel, &address).await);
        let (mut accepted, _) = soon(service.accept()).await.unwrap();
        filling.push(tokio::spawn(async move {
            let (block, mut written) = (vec![0; 64 * 1024], 0);
            // until no more bytes are accepted
            while let Ok(taken) = timeout(Duration::from_millis(500), accepted.write(&block)).await {
                written += taken.unwrap();
            }
            (accepted, written)
        }));
    }
    let mut written = 0;
    for filling in filling {
        written += filling.await.unwrap().1;
    }
    assert!(written > 100 << 20, "they did not stall: {written} bytes");
    exchange(100).await;
}
