//! Large transfers through a tunnel, and stalled readers: all bytes arrive, and no connection blocks another.

#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

mod support;

use std::time::Duration;

use support::{Buffers, World, fill, fill_all, read_all, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Sends so many bytes in both directions at once, and compares them.
async fn transfer_both_ways(world: &World, bytes: u32) {
    let (program, service, _relay) = world.connection().await;
    let pattern: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    let ends = [program, service].map(|end| {
        let pattern = pattern.clone();
        tokio::spawn(async move {
            let (mut read, mut write) = end.into_split();
            let expected = pattern.clone();
            let writing = tokio::spawn(async move {
                // Sizes that are no multiple of a block.
                for part in pattern.chunks(100_003) {
                    write.write_all(part).await.unwrap();
                }
            });
            let mut received = Vec::new();
            soon(read.read_to_end(&mut received)).await.unwrap();
            writing.await.unwrap();
            assert!(received == expected, "{} bytes", received.len());
        })
    });
    for end in ends {
        end.await.unwrap();
    }
}

#[tokio::test]
async fn large_transfer_in_both_directions_arrives_complete() {
    transfer_both_ways(&World::new().await, 20_000_003).await;
}

/// Both ends have control frames to write while their writes are blocked, and have to read meanwhile.
#[tokio::test]
async fn transfer_in_both_directions_completes_over_a_small_transport_buffer() {
    for buffer in [512, 4096, 70_000, 600_000] {
        let (ours, theirs) = tokio::io::duplex(buffer);
        let world = World::between(Box::new(ours), Box::new(theirs)).await;
        transfer_both_ways(&world, 24_000_001).await;
    }
}

#[tokio::test]
async fn stalled_reader_blocks_only_its_own_writer() {
    let world = World::new().await;
    let (_stalled, mut writer, _relay) = world.connection().await;
    let taken = fill(&mut writer).await;
    assert!(taken >= 4 << 20, "the stream's window was not used: {taken}");

    let (mut program, mut service, _other) = world.connection().await;
    let start = Instant::now();
    for _ in 0..100 {
        program.write_all(b"ping").await.unwrap();
        let mut bytes = [0; 4];
        soon(service.read_exact(&mut bytes)).await.unwrap();
        service.write_all(&bytes).await.unwrap();
        soon(program.read_exact(&mut bytes)).await.unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// Sends so many bytes to a reader that keeps up with them.
async fn transfer(writer: &mut TcpStream, reader: &mut TcpStream, bytes: usize) {
    let writing = async {
        let block = vec![b'f'; 1 << 20];
        for _ in 0..bytes >> 20 {
            writer.write_all(&block).await.unwrap();
        }
    };
    let reading = async {
        let (mut block, mut read) = (vec![0; 1 << 20], 0);
        while read < bytes {
            read += reader.read(&mut block).await.unwrap();
        }
    };
    soon(async { tokio::join!(writing, reading) }).await;
}

#[tokio::test]
async fn stalled_readers_use_bounded_memory_and_do_not_slow_others() {
    const STALLED: u64 = 8;
    // so that the accepted bytes differ only by the tunnel's buffers
    let world = World::with_buffers(Buffers::Fixed).await;
    let (mut slow, mut writer, _relay) = world.connection().await;
    let initial = fill(&mut writer).await;
    drop(writer);
    assert_eq!(read_all(&mut slow).await.unwrap().len() as u64, initial);

    // Much arrives and is read: windows are raised.
    let (mut reader, mut source, _fast) = world.connection().await;
    transfer(&mut source, &mut reader, 64 << 20).await;
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let (slow, mut writer, relay) = world.connection().await;
        let taken = fill(&mut writer).await;
        stalled.push((slow, writer, relay, taken));
    }
    let all: u64 = stalled.iter().map(|(.., taken)| taken).sum();
    assert!(
        stalled[0].3 >= initial + (5 << 20),
        "the window was not raised: {}",
        stalled[0].3
    );
    assert!(
        all <= STALLED * initial + (48 << 20),
        "{all} bytes, and {initial} with one initial window"
    );
    transfer(&mut source, &mut reader, 64 << 20).await;

    for (mut slow, writer, _relay, taken) in stalled {
        drop(writer);
        assert_eq!(read_all(&mut slow).await.unwrap().len() as u64, taken);
    }
    // Lowered windows that were negative are positive again.
    transfer(&mut source, &mut reader, 64 << 20).await;
}

/// So many connections whose programs read nothing, and the bytes that their services could write.
async fn stalled(world: &World, count: usize) -> (Vec<TcpStream>, Vec<TcpStream>, u64) {
    let (mut programs, mut services) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (program, service, _relay) = world.connection().await;
        programs.push(program);
        services.push(service);
    }
    let (services, all) = fill_all(services).await;
    (programs, services, all)
}

#[tokio::test]
async fn unread_bytes_of_hundreds_of_programs_are_bounded_and_slow_no_other() {
    const STALLED: usize = 200;
    let world = World::with_buffers(Buffers::Small).await;
    let (programs, services, all) = stalled(&world, STALLED).await;
    let (mib, of_sockets) = (1 << 20, STALLED as u64 * (256 << 10));
    assert!(all <= 350 * mib + of_sockets, "{} MiB", all / mib);
    assert!(all >= 150 * mib, "they did not stall: {} MiB", all / mib);

    let (mut reader, mut source, _relay) = world.connection().await;
    let start = Instant::now();
    transfer(&mut source, &mut reader, 16 << 20).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());

    // all bytes arrive once they are read
    drop(services);
    let mut received = 0;
    for mut program in programs {
        received += read_all(&mut program).await.unwrap().len() as u64;
    }
    assert_eq!(received, all);
    transfer(&mut source, &mut reader, 16 << 20).await;
}

/// Up to two thirds of an idle connection's window are announced to the sender, which is more than a lowered window.
#[tokio::test]
async fn idle_connections_continue_after_all_windows_were_lowered() {
    let world = World::with_buffers(Buffers::Small).await;
    let mut idle = Vec::new();
    for mib in [0, 1, 2, 3] {
        let (mut reader, mut source, relay) = world.connection().await;
        transfer(&mut source, &mut reader, mib << 20).await;
        let mut rest = vec![0; 900 << 10];
        source.write_all(&rest).await.unwrap();
        soon(reader.read_exact(&mut rest)).await.unwrap();
        idle.push((reader, source, relay));
    }
    let (_programs, _services, all) = stalled(&world, 100).await;
    assert!(all >= 100 << 20, "they did not stall: {all} bytes");
    for (reader, source, _relay) in &mut idle {
        transfer(source, reader, 4 << 20).await;
    }
}

#[tokio::test]
async fn reader_that_resumes_receives_every_byte() {
    let world = World::new().await;
    let (mut program, mut service, _relay) = world.connection().await;
    let written = fill(&mut service).await;
    drop(service);
    let mut read = 0;
    let mut block = vec![0; 64 * 1024];
    loop {
        match soon(program.read(&mut block)).await.unwrap() {
            0 => break,
            count => read += count as u64,
        }
    }
    assert_eq!(read, written);
}

#[tokio::test]
async fn tiny_writes_to_a_stalled_reader_arrive_complete() {
    let world = World::new().await;
    let (mut program, mut service, _relay) = world.connection().await;
    fill(&mut service).await;
    let mut tail = Vec::new();
    // The window is used up, so these bytes wait in the service's own buffer and arrive in many pieces.
    while let Ok(count) = service.try_write(&[tail.len() as u8]) {
        tail.extend(std::iter::repeat_n(tail.len() as u8, count));
        if tail.len() == 1000 {
            break;
        }
    }
    drop(service);
    let received = read_all(&mut program).await.unwrap();
    assert!(received.ends_with(&tail));
}
