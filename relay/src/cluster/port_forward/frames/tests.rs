use super::*;

fn events(frames: &[u8], piece_size: usize) -> Vec<Event> {
    let (mut decoder, mut events) = (Decoder::new(), Vec::new());
    for piece in frames.chunks(piece_size) {
        let mut piece = Bytes::copy_from_slice(piece);
        while let Some(event) = decoder.next(&mut piece) {
            events.push(event);
        }
        assert!(piece.is_empty());
    }
    events
}

fn control_frame(kind: u16, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    control(&mut frame, kind, length_of(body));
    frame[4] = flags;
    frame.extend_from_slice(body);
    frame
}

fn data_frame(stream: u32, bytes: &[u8], fin: bool) -> Vec<u8> {
    let mut frame = data(stream, length_of(bytes), fin).to_vec();
    frame.extend_from_slice(bytes);
    frame
}

fn data_event(bytes: &'static [u8]) -> Event {
    Event::Data {
        stream: 3,
        bytes: Bytes::from_static(bytes),
        end_of_frame: true,
    }
}

#[test]
fn syn_stream_frames_store_headers_uncompressed_in_one_zlib_stream() {
    let (mut opener, mut frames) = (Opener::default(), Vec::new());
    opener.open(&mut frames, 1, &[("port", "80")]);
    let block = [
        0, 0, 0, 1, 0, 0, 0, 4, b'p', b'o', b'r', b't', 0, 0, 0, 2, b'8', b'0',
    ];
    let mut expected = vec![0x80, 3, 0, 1, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    expected.extend([0x78, 1, 0, 18, 0, !18, 0xff]);
    expected.extend(block);
    expected.extend([0, 0, 0, 0xff, 0xff]);
    assert_eq!(frames, expected);

    frames.clear();
    opener.open(&mut frames, 3, &[("port", "80")]);
    assert_eq!(frames[7], 38, "the zlib stream has one header");
    assert_eq!(frames[18..23], [0, 18, 0, !18, 0xff]);
}

#[test]
fn data_in_pieces_of_any_size_is_decoded_before_its_end() {
    let mut frames = data_frame(3, b"hello", false);
    frames.extend(data_frame(3, b"", false));
    frames.extend(data_frame(3, b" world", true));
    let expected = [
        data_event(b"hello"),
        data_event(b" world"),
        Event::End { stream: 3 },
    ];
    assert_eq!(events(&frames, frames.len()), expected);
    for piece_size in 1..frames.len() {
        let mut received = Vec::new();
        let mut ended = false;
        for event in events(&frames, piece_size) {
            match event {
                Event::Data { stream: 3, bytes, .. } => received.extend_from_slice(&bytes),
                Event::End { stream: 3 } => ended = true,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((received.as_slice(), ended), (b"hello world".as_slice(), true));
    }
}

#[test]
fn fin_without_data_is_decoded_as_end_of_stream() {
    assert_eq!(events(&data_frame(1, b"", true), 8), [Event::End { stream: 1 }]);
    assert_eq!(
        events(&control_frame(SYN_REPLY, FIN, &[0, 0, 0, 1, 9, 9]), 3),
        [Event::End { stream: 1 }]
    );
}

#[test]
fn syn_reply_and_unknown_control_frames_are_skipped() {
    let mut frames = control_frame(SYN_REPLY, 0, &[0, 0, 0, 3, 0x78, 0x9c, 1, 2, 3]);
    frames.extend(control_frame(4, 0, &[0; 12]));
    frames.extend(control_frame(7, 0, &[0; 8]));
    frames.extend(control_frame(99, 0, &[]));
    frames.extend(data_frame(3, b"x", false));
    for piece_size in 1..frames.len() {
        assert_eq!(events(&frames, piece_size), [data_event(b"x")]);
    }
}

#[test]
fn rst_stream_and_ping_frames_are_decoded() {
    let mut frames = control_frame(RST_STREAM, 0, &[0, 0, 0, 3, 0, 0, 0, 5]);
    frames.extend_from_slice(&ping(2));
    for piece_size in 1..frames.len() {
        assert_eq!(
            events(&frames, piece_size),
            [Event::Reset { stream: 3 }, Event::Ping { id: 2 }]
        );
    }
}
