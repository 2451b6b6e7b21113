//! How connections through a tunnel end: by half-close, close, reset, and the loss of the tunnel.

#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

mod support;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kinject_tunnel::{CloseReason, SpliceEnd, splice_until};
use support::{Fin, World, fill, read_all, reset_on_close, soon, with_gate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

#[tokio::test]
async fn half_close_ends_each_direction_independently() {
    let mut world = World::new().await;
    let (mut program, mut service, relay) = world.connection().await;
    program.write_all(b"question").await.unwrap();
    program.shutdown().await.unwrap();
    assert_eq!(read_all(&mut service).await.unwrap(), b"question");
    service.write_all(b"answer").await.unwrap();
    service.shutdown().await.unwrap();
    assert_eq!(read_all(&mut program).await.unwrap(), b"answer");
    let relay = soon(relay).await.unwrap();
    assert_eq!(
        (relay.sent, relay.received, relay.end),
        (8, 6, SpliceEnd::Finished)
    );
    let agent = world.agent_outcome().await;
    assert_eq!(
        (agent.sent, agent.received, agent.end),
        (6, 8, SpliceEnd::Finished)
    );
}

#[tokio::test]
async fn closed_program_sends_a_fin_to_the_service() {
    closed_program(World::new().await).await;
    let world = World::new().await;
    world.tunnel.coalesce_closes();
    closed_program(world).await;
}

async fn closed_program(mut world: World) {
    let (mut program, mut service, relay) = world.connection_with(Fin::Close).await;
    program.write_all(b"question").await.unwrap();
    soon(service.read_exact(&mut [0; 8])).await.unwrap();
    service.write_all(b"answer").await.unwrap();
    soon(program.read_exact(&mut [0; 6])).await.unwrap();
    drop(program);
    let relay = soon(relay).await.unwrap();
    assert_eq!(
        (relay.sent, relay.received, relay.end),
        (8, 6, SpliceEnd::Finished)
    );
    assert_eq!(read_all(&mut service).await.unwrap(), b"");
    let agent = world.agent_outcome().await;
    assert_eq!(
        (agent.sent, agent.received, agent.end),
        (6, 8, SpliceEnd::Finished)
    );
    // The connection is gone, which the service's next write shows.
    let refused = soon(async {
        loop {
            if let Err(error) = service.write_all(b"more").await {
                break error.kind();
            }
            tokio::task::yield_now().await;
        }
    });
    assert!(matches!(
        refused.await,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    ));
}

#[tokio::test]
async fn bytes_before_close_arrive_at_a_slow_service() {
    // fewer and more bytes than fit into the stream's window
    for sent in [100, 3_000_000, 30_000_000] {
        let mut world = World::new().await;
        let (mut program, mut service, _relay) = world.connection_with(Fin::Close).await;
        let sending = tokio::spawn(async move {
            program.write_all(&vec![b's'; sent]).await.unwrap();
            program
        });
        let mut received = vec![0];
        soon(service.read_exact(&mut received)).await.unwrap();
        let close = tokio::spawn(async move { drop(sending.await.unwrap()) });
        received.extend(read_all(&mut service).await.unwrap());
        assert!(received.len() == sent && received.iter().all(|byte| *byte == b's'));
        soon(close).await.unwrap();
        drop(service);
        let agent = world.agent_outcome().await;
        assert_eq!((agent.received, agent.end), (sent as u64, SpliceEnd::Finished));
    }
}

/// At the end of a session the relay waits for the bytes of closed programs, and not for services to close.
#[tokio::test]
async fn connection_of_a_closed_program_ends_when_all_bytes_have_left() {
    for (sent, coalesces) in [
        (100, false),
        (100, true),
        (3_000_000, true),
        (30_000_000, false),
        (30_000_000, true),
    ] {
        let world = World::new().await;
        if coalesces {
            world.tunnel.coalesce_closes();
        }
        let (mut program, mut service, relay) = world.connection_with(Fin::Close).await;
        let sending = tokio::spawn(async move { program.write_all(&vec![b's'; sent]).await.unwrap() });
        let mut received = vec![0; sent];
        soon(service.read_exact(&mut received)).await.unwrap();
        soon(sending).await.unwrap();
        let relay = soon(relay).await.unwrap();
        assert_eq!((relay.sent, relay.end), (sent as u64, SpliceEnd::Finished));
        assert_eq!(read_all(&mut service).await.unwrap(), b"");
    }
}

/// Half-closed at first, and closed when the session ends: the relay does not wait for the service then.
#[tokio::test]
async fn half_closed_connection_ends_when_the_last_check_finds_it_closed() {
    let world = World::new().await;
    let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = service.local_addr().unwrap().to_string();
    let stream = soon(world.tunnel.connect(&address)).await.unwrap();
    let (mut program, relay) = support::pair().await;
    let (rechecked, is_closed) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (recheck, closed) = (Arc::clone(&rechecked), Arc::clone(&is_closed));
    let relay = tokio::spawn(async move {
        let is_closed = move || closed.load(Ordering::Relaxed);
        splice_until(relay, stream, is_closed, recheck.notified()).await
    });
    let (mut service, _) = soon(service.accept()).await.unwrap();
    program.write_all(b"words").await.unwrap();
    program.shutdown().await.unwrap();
    assert_eq!(read_all(&mut service).await.unwrap(), b"words");
    drop(program);
    assert!(
        !relay.is_finished(),
        "a half-closed connection waits for the service"
    );
    is_closed.store(true, Ordering::Relaxed);
    rechecked.notify_one();
    assert_eq!(soon(relay).await.unwrap().end, SpliceEnd::Finished);
}

#[tokio::test]
async fn a_reset_by_the_service_reaches_the_program() {
    let mut world = World::new().await;
    let (mut program, service, relay) = world.connection().await;
    reset_on_close(&service);
    drop(service);
    assert_eq!(
        read_all(&mut program).await,
        Err((vec![], ErrorKind::ConnectionReset))
    );
    assert_eq!(soon(relay).await.unwrap().end, SpliceEnd::StreamReset);
    assert_eq!(
        world.agent_outcome().await.end,
        SpliceEnd::SocketFailed(ErrorKind::ConnectionReset)
    );
}

#[tokio::test]
async fn a_reset_by_the_program_reaches_the_service() {
    let mut world = World::new().await;
    let (program, mut service, relay) = world.connection().await;
    reset_on_close(&program);
    drop(program);
    assert_eq!(
        read_all(&mut service).await,
        Err((vec![], ErrorKind::ConnectionReset))
    );
    assert_eq!(
        soon(relay).await.unwrap().end,
        SpliceEnd::SocketFailed(ErrorKind::ConnectionReset)
    );
    assert_eq!(world.agent_outcome().await.end, SpliceEnd::StreamReset);
}

#[tokio::test]
async fn bytes_before_a_reset_arrive_before_it() {
    let world = World::new().await;
    for _ in 0..20 {
        let (mut program, mut service, _relay) = world.connection().await;
        let answer = vec![b'a'; 300_000];
        service.write_all(&answer).await.unwrap();
        // The agent has to have read them: a reset drops bytes that are still in the service's own buffer.
        let mut first = vec![0; answer.len()];
        soon(program.read_exact(&mut first)).await.unwrap();
        service.write_all(b"last words").await.unwrap();
        reset_on_close(&service);
        drop(service);
        let (bytes, kind) = read_all(&mut program).await.unwrap_err();
        assert_eq!(
            (bytes.as_slice(), kind),
            (b"last words".as_slice(), ErrorKind::ConnectionReset)
        );
    }
}

#[tokio::test]
async fn answer_to_an_unread_request_arrives_before_the_reset() {
    let world = World::new().await;
    let (mut program, mut service, _relay) = world.connection().await;
    // The service answers and closes before it has read the request, which makes its kernel send a reset.
    program.write_all(&[b'r'; 50_000]).await.unwrap();
    soon(service.read_exact(&mut [0; 1])).await.unwrap();
    service.write_all(b"too large").await.unwrap();
    drop(service);
    let (bytes, kind) = read_all(&mut program).await.unwrap_err();
    assert_eq!(
        (bytes.as_slice(), kind),
        (b"too large".as_slice(), ErrorKind::ConnectionReset)
    );
}

#[tokio::test]
async fn a_reset_is_noticed_while_the_other_side_does_not_read() {
    let world = World::new().await;
    let (mut program, mut service, relay) = world.connection().await;
    fill(&mut program).await;
    reset_on_close(&program);
    drop(program);
    let end = soon(relay).await.unwrap().end;
    assert_eq!(end, SpliceEnd::SocketFailed(ErrorKind::ConnectionReset));
    assert_eq!(
        read_all(&mut service).await.unwrap_err().1,
        ErrorKind::ConnectionReset
    );
}

#[tokio::test]
async fn a_reset_is_noticed_after_a_half_close() {
    let world = World::new().await;
    let (mut program, mut service, relay) = world.connection().await;
    program.shutdown().await.unwrap();
    assert_eq!(read_all(&mut service).await.unwrap(), b"");
    reset_on_close(&service);
    drop(service);
    assert_eq!(
        read_all(&mut program).await,
        Err((vec![], ErrorKind::ConnectionReset))
    );
    assert_eq!(soon(relay).await.unwrap().end, SpliceEnd::StreamReset);
}

#[tokio::test]
async fn a_reset_after_the_peers_half_close_is_passed_on() {
    let mut world = World::new().await;
    let (mut program, mut service, _relay) = world.connection().await;
    service.shutdown().await.unwrap();
    assert_eq!(read_all(&mut program).await.unwrap(), b"");
    reset_on_close(&program);
    drop(program);
    assert_eq!(world.agent_outcome().await.end, SpliceEnd::StreamReset);
    let error = loop {
        // The first or second write reports the reset.
        if let Err(error) = soon(service.write(b"x")).await {
            break error;
        }
        tokio::task::yield_now().await;
    };
    assert!(
        matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "{error}"
    );
}

#[tokio::test]
async fn a_reset_is_noticed_while_others_have_much_to_send() {
    let (ours, theirs, gate) = with_gate();
    let world = World::between(Box::new(ours), Box::new(theirs)).await;
    let mut connections = Vec::new();
    for _ in 0..4 {
        connections.push(world.connection().await);
    }
    gate.send(false).unwrap();
    for (program, ..) in &mut connections {
        fill(program).await;
    }
    let (program, _service, relay) = connections.pop().unwrap();
    reset_on_close(&program);
    drop(program);
    assert_eq!(
        soon(relay).await.unwrap().end,
        SpliceEnd::SocketFailed(ErrorKind::ConnectionReset)
    );
    gate.send(true).unwrap();
}

#[tokio::test]
async fn bytes_before_a_reset_arrive_while_the_other_direction_is_blocked() {
    // here the direction from the agent is blocked
    let (agents, relays, gate) = with_gate();
    let mut world = World::between(Box::new(relays), Box::new(agents)).await;
    let mut connections = Vec::new();
    for _ in 0..4 {
        connections.push(world.connection().await);
    }
    gate.send(false).unwrap();
    for (_, service, _) in &mut connections {
        fill(service).await;
    }
    let (mut program, mut service, relay) = connections.pop().unwrap();
    program.write_all(&vec![b'x'; MANY_BYTES]).await.unwrap();
    program.shutdown().await.unwrap();
    let early = timeout(Duration::from_millis(300), world.agent_outcome()).await;
    assert!(early.is_err(), "{early:?}");
    reset_on_close(&program);
    drop(program);
    soon(relay).await.unwrap();
    let early = timeout(Duration::from_millis(300), world.agent_outcome()).await;
    assert!(early.is_err(), "ended before the service has read: {early:?}");
    let mut received = vec![0; MANY_BYTES];
    soon(service.read_exact(&mut received)).await.unwrap();
    assert!(received.iter().all(|byte| *byte == b'x'));
    gate.send(true).unwrap();
}

/// A service that has not read, of a connection whose program has sent so many bytes, half-closed and then closed.
async fn orphaned(world: &World, bytes: usize) -> TcpStream {
    let (mut program, service, _relay) = world.connection().await;
    program.write_all(&vec![b'x'; bytes]).await.unwrap();
    program.shutdown().await.unwrap();
    // with paused time, this returns only when all other tasks are idle
    tokio::time::sleep(Duration::from_secs(1)).await;
    // the kernel's timers need real time: delayed acknowledgements, zero-window probes
    let (mut waiting, mut unchanged) = (0, 0);
    while unchanged < 300 {
        std::thread::sleep(Duration::from_millis(1));
        tokio::task::yield_now().await;
        let now = rustix::io::ioctl_fionread(&service).unwrap();
        unchanged = if now == waiting && now > 0 {
            unchanged + 1
        } else {
            0
        };
        waiting = now;
    }
    reset_on_close(&program);
    service
}

/// More than the sockets' buffers hold, and no more than a stream's window.
const MANY_BYTES: usize = 4 << 20;

#[tokio::test(start_paused = true)]
async fn stalled_reader_of_a_closed_program_is_reset_after_five_minutes() {
    let mut world = World::new().await;
    let mut service = orphaned(&world, MANY_BYTES).await;
    let start = Instant::now();
    let outcome = world.agent_outcome_without_deadline().await;
    assert_eq!(outcome.end, SpliceEnd::StreamReset);
    assert!(
        outcome.received < MANY_BYTES as u64,
        "the reader did not stall: {outcome:?}"
    );
    let waited = start.elapsed().as_secs();
    assert!((300..330).contains(&waited), "{waited} s");
    assert_eq!(
        read_all(&mut service).await.unwrap_err().1,
        ErrorKind::ConnectionReset
    );
}

#[tokio::test(start_paused = true)]
async fn slow_reader_receives_everything_from_a_closed_program() {
    let mut world = World::new().await;
    let mut service = orphaned(&world, MANY_BYTES).await;
    let (mut block, mut read) = (vec![0; 64 * 1024], 0);
    loop {
        tokio::time::sleep(Duration::from_secs(100)).await;
        match service.read(&mut block).await.unwrap() {
            0 => break,
            count => read += count,
        }
    }
    assert_eq!(read, MANY_BYTES);
    assert_eq!(
        world.agent_outcome_without_deadline().await.end,
        SpliceEnd::Finished
    );
}

#[tokio::test]
async fn a_lost_tunnel_resets_both_sockets() {
    let mut world = World::new().await;
    let (mut program, mut service, relay) = world.connection().await;
    world.driver.abort();
    assert_eq!(
        read_all(&mut program).await,
        Err((vec![], ErrorKind::ConnectionReset))
    );
    assert_eq!(
        read_all(&mut service).await,
        Err((vec![], ErrorKind::ConnectionReset))
    );
    assert_eq!(soon(relay).await.unwrap().end, SpliceEnd::TunnelLost);
    assert_eq!(world.agent_outcome().await.end, SpliceEnd::TunnelLost);
}

#[tokio::test]
async fn lost_agent_ends_the_driver_and_every_connection() {
    let world = World::new().await;
    let (mut program, _service, _relay) = world.connection().await;
    world.agent.abort();
    assert_eq!(soon(world.driver).await.unwrap(), CloseReason::PeerClosed);
    assert_eq!(
        read_all(&mut program).await,
        Err((vec![], ErrorKind::ConnectionReset))
    );
    let error = soon(world.tunnel.connect("127.0.0.1:1")).await.unwrap_err();
    assert_eq!(error, kinject_tunnel::DialError::TunnelLost);
}

#[tokio::test]
async fn thousands_of_resets_do_not_end_the_tunnel() {
    let world = World::new().await;
    let (mut old_program, mut old_service, _old) = world.connection().await;
    for round in 0..3000 {
        let (program, mut service, _relay) = world.connection().await;
        // Bytes are in flight when the reset overtakes them.
        let _ = service.try_write(&[0; 10_000]);
        let end = if round % 2 == 0 { &program } else { &service };
        reset_on_close(end);
        if round % 3 == 0 {
            drop(program);
            let _ = service.write(b"x").await;
        }
    }
    old_program.write_all(b"still").await.unwrap();
    let mut bytes = [0; 5];
    soon(old_service.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"still");
    assert!(!world.driver.is_finished());
}
