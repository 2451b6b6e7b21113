use super::*;
use proptest::prelude::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// The two ends of a stream with one lane; small buffers split pieces.
async fn pair(buffer: usize) -> (Stream, SecondLane, Stream, JoinableStreams) {
    let (ours, theirs) = duplex(buffer);
    let joinable = JoinableStreams::default();
    let (begun, accepted) = tokio::join!(begin(Box::new(ours)), joinable.accept(Box::new(theirs)));
    let (relay, second) = begun.unwrap();
    (relay, second, accepted.unwrap().unwrap(), joinable)
}

/// Adds the second lane.
async fn join(second: SecondLane, joinable: &JoinableStreams, buffer: usize) {
    let (ours, theirs) = duplex(buffer);
    let (joined, accepted) = tokio::join!(second.join(Box::new(ours)), joinable.accept(Box::new(theirs)));
    joined.unwrap();
    assert!(accepted.unwrap().is_none());
}

/// Sends pieces of these lengths, each flushed, and reads all of it at the other end in reads of `read` bytes.
async fn carry(mut from: Stream, mut to: Stream, lengths: &[usize], read: usize) {
    let bytes: Vec<u8> = (0..lengths.iter().sum::<usize>())
        .map(|n| (n * 31 % 251) as u8)
        .collect();
    let expected = bytes.clone();
    let lengths = lengths.to_vec();
    let writing = async move {
        let mut rest = bytes.as_slice();
        for length in lengths {
            let (now, later) = rest.split_at(length);
            from.write_all(now).await.unwrap();
            from.flush().await.unwrap();
            rest = later;
        }
        from
    };
    let reading = async {
        let (mut all, mut buffer) = (Vec::new(), vec![0; read]);
        while all.len() < expected.len() {
            let count = to.read(&mut buffer).await.unwrap();
            assert_ne!(count, 0);
            all.extend_from_slice(&buffer[..count]);
        }
        assert!(all == expected);
    };
    let both = async { tokio::join!(writing, reading) };
    tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .expect("the transfer is stuck");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn bytes_arrive_in_order_however_pieces_are_split(
        lengths in prop::collection::vec(prop_oneof![1_usize..300, SHORT - 5..SHORT + 5, 1..200_000_usize], 1..30),
        buffers in (1_usize..100_000, 1_usize..100_000),
        read in 1_usize..100_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (relay, second, agent, joinable) = pair(buffers.0.max(20)).await;
            join(second, &joinable, buffers.1.max(20)).await;
            carry(relay, agent, &lengths, read).await;
        });
    }
}

#[tokio::test]
async fn second_lane_joins_a_stream_in_use() {
    let (mut relay, second, mut agent, joinable) = pair(1000).await;
    let mut bytes = [0; 5];
    relay.write_all(b"first").await.unwrap();
    agent.read_exact(&mut bytes).await.unwrap();
    join(second, &joinable, 1000).await;
    let long = vec![7; 100_000];
    let mut read = vec![0; long.len()];
    let (written, received) = tokio::join!(relay.write_all(&long), agent.read_exact(&mut read));
    written.unwrap();
    received.unwrap();
    assert!(read == long);
    // in the other direction
    agent.write_all(b"again").await.unwrap();
    relay.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"again");
}

/// Two lanes, and the other ends of their transports.
fn lanes() -> (Lanes, DuplexStream, DuplexStream) {
    let ((interactive, interactive_end), (bulk, bulk_end)) = (duplex(1 << 20), duplex(1 << 20));
    let (_, never) = oneshot::channel();
    let mut lanes = Lanes::new(Box::new(interactive), SHORT, never);
    lanes.bulk = Some(Lane::new(Box::new(bulk)));
    (lanes, interactive_end, bulk_end)
}

fn piece(position: u64, bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() as u32;
    [&position.to_be_bytes(), length.to_be_bytes().as_slice(), bytes].concat()
}

#[tokio::test]
async fn short_writes_use_the_interactive_lane_and_long_ones_the_bulk_lane() {
    let (mut lanes, mut interactive, mut bulk) = lanes();
    let long = vec![1; SHORT + 1];
    lanes.write_all(&[2; SHORT]).await.unwrap();
    lanes.write_all(&long).await.unwrap();
    lanes.write_all(b"x").await.unwrap();
    let mut received = vec![0; 2 * HEADER_BYTES + SHORT + 1];
    interactive.read_exact(&mut received).await.unwrap();
    let short = piece(0, &[2; SHORT]);
    assert!(received == [short, piece(2 * SHORT as u64 + 1, b"x")].concat());
    let mut received = vec![0; HEADER_BYTES + long.len()];
    bulk.read_exact(&mut received).await.unwrap();
    assert!(received == piece(SHORT as u64, &long));
}

#[tokio::test]
async fn piece_is_delivered_after_all_earlier_pieces() {
    let (mut lanes, mut interactive, mut bulk) = lanes();
    interactive.write_all(&piece(3, b"def")).await.unwrap();
    let mut bytes = [0; 6];
    let early = tokio::time::timeout(Duration::from_millis(20), lanes.read(&mut bytes)).await;
    assert!(early.is_err(), "it was delivered before the earlier piece");
    bulk.write_all(&piece(0, b"abc")).await.unwrap();
    lanes.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"abcdef");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_alternate_between_the_lanes() {
    let (lanes, _haste, _bulk) = lanes();
    let mut lanes = lanes;
    let mut taken = Vec::new();
    for _ in 0..6 {
        tokio::time::advance(HEARTBEAT).await;
        let kind = lanes.choose(17, Instant::now);
        taken.push(kind);
        lanes.lane(kind).idle_since = Instant::now();
    }
    let times = |kind| taken.iter().filter(|taken| **taken == kind).count();
    assert_eq!(
        (times(LaneKind::Interactive), times(LaneKind::Bulk)),
        (3, 3),
        "{taken:?}"
    );
}

#[tokio::test]
async fn malformed_piece_ends_the_stream_with_invalid_data() {
    let too_long = [0_u64.to_be_bytes().as_slice(), &[0xff; 4], b"x"].concat();
    for malformed in [
        piece(0, b""),
        too_long,
        [piece(0, b"abc"), piece(0, b"abc")].concat(),
    ] {
        let (mut lanes, mut interactive, _bulk) = lanes();
        interactive.write_all(&malformed).await.unwrap();
        let error = lanes.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

#[tokio::test]
async fn end_of_either_lane_ends_the_stream() {
    for ends in [LaneKind::Interactive, LaneKind::Bulk] {
        let (mut lanes, interactive, bulk) = lanes();
        let _other = match ends {
            LaneKind::Interactive => {
                drop(interactive);
                bulk
            }
            LaneKind::Bulk => {
                drop(bulk);
                interactive
            }
        };
        let mut all = Vec::new();
        lanes.read_to_end(&mut all).await.unwrap();
        assert!(all.is_empty());
    }
    let (mut lanes, mut interactive, _bulk) = lanes();
    interactive
        .write_all(&piece(0, b"abc")[..HEADER_BYTES + 1])
        .await
        .unwrap();
    drop(interactive);
    let error = lanes.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn lane_joining_an_unknown_or_ended_stream_is_refused() {
    let (relay, second, agent, joinable) = pair(1000).await;
    // the second lane of another agent's stream
    let (_, other, ..) = pair(1000).await;
    let refused = |second: SecondLane, joinable: JoinableStreams| async move {
        let (ours, theirs) = duplex(1000);
        let (_, accepted) = tokio::join!(second.join(Box::new(ours)), joinable.accept(Box::new(theirs)));
        accepted.err().unwrap().kind()
    };
    assert_eq!(refused(other, joinable.clone()).await, io::ErrorKind::NotFound);
    drop((relay, agent));
    assert_eq!(refused(second, joinable).await, io::ErrorKind::NotFound);
}

#[tokio::test]
async fn unknown_kind_of_opening_is_refused() {
    let (mut ours, theirs) = duplex(1000);
    ours.write_all(&[9; 17]).await.unwrap();
    let error = JoinableStreams::default()
        .accept(Box::new(theirs))
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
