//! Large transfers through a tunnel, and readers that stall: everything arrives, and nobody holds another back.

#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

mod support;

use std::time::Duration;

use support::{Buffers, World, fill, read_all, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Sends so many bytes each way at once, and compares them.
async fn transfer_both_ways(world: &World, bytes: u32) {
    let (program, service, _relay) = world.connection().await;
    let pattern: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    let ends = [program, service].map(|end| {
        let pattern = pattern.clone();
        tokio::spawn(async move {
            let (mut read, mut write) = end.into_split();
            let expected = pattern.clone();
            let writing = tokio::spawn(async move {
                // Sizes that do not fit any block.
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
async fn a_large_transfer_both_ways_arrives_whole() {
    transfer_both_ways(&World::new().await, 20_000_003).await;
}

/// Neither end can write what it has to say about the transfer, and each has to read meanwhile.
#[tokio::test]
async fn a_transfer_both_ways_survives_a_transport_that_holds_little() {
    for held in [512, 4096, 70_000, 600_000] {
        let (ours, theirs) = tokio::io::duplex(held);
        let world = World::between(Box::new(ours), Box::new(theirs)).await;
        transfer_both_ways(&world, 24_000_001).await;
    }
}

#[tokio::test]
async fn a_reader_that_stalls_holds_back_its_own_writer_and_nobody_else() {
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

/// Sends so many bytes to a reader that keeps up.
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
async fn readers_that_stall_among_fast_ones_take_bounded_memory_and_cost_the_others_nothing() {
    const STALLED: u64 = 8;
    // so that the bytes taken differ by what is ours
    let world = World::with_buffers(Buffers::Fixed).await;
    let (mut slow, mut writer, _relay) = world.connection().await;
    let narrow = fill(&mut writer).await;
    drop(writer);
    assert_eq!(read_all(&mut slow).await.unwrap().len() as u64, narrow);

    // Much arrives and is taken: windows are raised.
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
        stalled[0].3 >= narrow + (5 << 20),
        "it was not raised: {}",
        stalled[0].3
    );
    assert!(
        all <= STALLED * narrow + (48 << 20),
        "{all} bytes, and {narrow} with one narrow window"
    );
    transfer(&mut source, &mut reader, 64 << 20).await;

    for (mut slow, writer, _relay, taken) in stalled {
        drop(writer);
        assert_eq!(read_all(&mut slow).await.unwrap().len() as u64, taken);
    }
    // Lowered windows that were negative have come back.
    transfer(&mut source, &mut reader, 64 << 20).await;
}

#[tokio::test]
async fn a_reader_that_goes_on_gets_everything() {
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
async fn tiny_writes_to_a_reader_that_stalls_arrive_whole() {
    let world = World::new().await;
    let (mut program, mut service, _relay) = world.connection().await;
    fill(&mut service).await;
    let mut tail = Vec::new();
    // The window is used up, so these wait in the service's own buffer and come in many pieces.
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
