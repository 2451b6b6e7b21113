//! The frames of SPDY/3.1, as far as a port-forward needs them.
//!
//! Every frame begins with eight bytes: a stream's number, or with the highest bit set version and type, and then eight
//! bits of flags and 24 of length (draft-mbelshe-httpbis-spdy-00, 2.2). This end opens streams and sends data; what the
//! other end's headers say concerns nobody, so nothing is ever decompressed here. Compressing is a matter of format
//! alone: a block that is stored as it is needs neither SPDY's dictionary nor a compressor.

use bytes::{Buf, BufMut, Bytes};

/// Bytes before every frame's own.
pub(super) const HEAD_BYTES: usize = 8;
/// SPDY's third version in a control frame's first two bytes.
const CONTROL: u16 = 0x8003;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const HEADERS: u16 = 8;
/// The flag of a stream's last frame.
const FIN: u8 = 1;
/// The beginning of a zlib stream (RFC 1950): deflate, with the largest window, without a dictionary.
const ZLIB_HEAD: [u8; 2] = [0x78, 0x01];

/// What the other end says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Bytes of a stream; `whole` with the last ones of their frame.
    Data { stream: u32, bytes: Bytes, whole: bool },
    /// A stream has ended in its direction.
    End { stream: u32 },
    /// A stream was given up.
    Reset { stream: u32 },
    /// This is to be sent back.
    Ping { id: u32 },
}

/// The head of a data frame.
pub(super) fn data(stream: u32, length: u32, last: bool) -> [u8; HEAD_BYTES] {
    let flags = if last { FIN } else { 0 };
    (u64::from(stream) << 32 | u64::from(flags) << 24 | u64::from(length)).to_be_bytes()
}

/// A ping, or the answer to one.
pub(super) fn ping(id: u32) -> Bytes {
    let mut frame = Vec::new();
    control(&mut frame, PING, 4);
    frame.put_u32(id);
    frame.into()
}

fn control(into: &mut Vec<u8>, kind: u16, length: u32) {
    into.put_u16(CONTROL);
    into.put_u16(kind);
    into.put_u32(length);
}

/// Opens streams. The blocks of their headers are one zlib stream.
#[derive(Default)]
pub(super) struct Opener {
    begun: bool,
}

impl Opener {
    /// The frame that opens a stream with these headers, whose names are in lower case.
    pub(super) fn open(&mut self, into: &mut Vec<u8>, stream: u32, headers: &[(&str, &str)]) {
        let block = self.compress(&header_block(headers));
        control(into, SYN_STREAM, 10 + length_of(&block));
        into.put_u32(stream);
        // no stream that it belongs to, the highest priority, no slot for credentials
        into.put_u32(0);
        into.put_u16(0);
        into.extend_from_slice(&block);
    }

    /// Deflate's stored block, and an empty one that has the reader give out what it has (RFC 1951, 3.2.4).
    fn compress(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut block = Vec::with_capacity(plain.len() + 12);
        if !std::mem::replace(&mut self.begun, true) {
            block.extend_from_slice(&ZLIB_HEAD);
        }
        for stored in [plain, &[]] {
            debug_assert!(stored.len() <= usize::from(u16::MAX), "headers are short");
            let length = stored.len() as u16;
            block.put_u8(0);
            block.put_u16_le(length);
            block.put_u16_le(!length);
            block.extend_from_slice(stored);
        }
        block
    }
}

fn header_block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    block.put_u32(headers.len() as u32);
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        block.put_u32(length_of(text.as_bytes()));
        block.extend_from_slice(text.as_bytes());
    }
    block
}

fn length_of(bytes: &[u8]) -> u32 {
    bytes.len() as u32
}

/// Takes frames out of bytes that come in pieces of any size.
pub(super) struct Decoder {
    state: State,
}

enum State {
    /// Before a frame, or within its first bytes.
    Head { bytes: [u8; HEAD_BYTES], have: usize },
    /// Within a data frame.
    Data { stream: u32, left: usize, last: bool },
    /// Within a control frame, of which the first bytes count.
    Control {
        kind: u16,
        last: bool,
        first: [u8; 4],
        have: usize,
        left: usize,
    },
}

impl State {
    const BETWEEN: Self = Self::Head {
        bytes: [0; HEAD_BYTES],
        have: 0,
    };

    fn of_frame(head: [u8; HEAD_BYTES]) -> Self {
        let head = u64::from_be_bytes(head);
        let last = (head >> 24) as u8 & FIN != 0;
        let left = (head & 0x00ff_ffff) as usize;
        let stream = (head >> 32) as u32;
        if stream & 0x8000_0000 == 0 {
            return Self::Data { stream, left, last };
        }
        Self::Control {
            kind: stream as u16,
            last,
            first: [0; 4],
            have: 0,
            left,
        }
    }
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            state: State::BETWEEN,
        }
    }

    /// The next event in these bytes; none when they are used up.
    pub(super) fn next(&mut self, bytes: &mut Bytes) -> Option<Event> {
        loop {
            match &mut self.state {
                State::Head { bytes: head, have } => {
                    *have += fill(&mut head[*have..], bytes);
                    if *have < HEAD_BYTES {
                        return None;
                    }
                    self.state = State::of_frame(*head);
                }
                State::Data { stream, left, last } => {
                    if *left > 0 && bytes.is_empty() {
                        return None;
                    }
                    let piece = bytes.split_to(bytes.len().min(*left));
                    *left -= piece.len();
                    let (stream, whole, end) = (*stream, *left == 0, *last);
                    if whole {
                        self.state = State::BETWEEN;
                    }
                    if piece.is_empty() {
                        match end {
                            true => return Some(Event::End { stream }),
                            false => continue,
                        }
                    }
                    if whole && end {
                        // the end comes by itself, behind the bytes
                        self.state = State::Data {
                            stream,
                            left: 0,
                            last: true,
                        };
                    }
                    return Some(Event::Data {
                        stream,
                        bytes: piece,
                        whole,
                    });
                }
                State::Control {
                    kind,
                    last,
                    first,
                    have,
                    left,
                } => {
                    let wanted = first.len().min(*have + *left);
                    let count = fill(&mut first[*have..wanted], bytes);
                    (*have, *left) = (*have + count, *left - count);
                    let skipped = bytes.len().min(*left);
                    bytes.advance(skipped);
                    *left -= skipped;
                    if *left > 0 {
                        return None;
                    }
                    let event = event_of(*kind, *last, u32::from_be_bytes(*first));
                    self.state = State::BETWEEN;
                    if event.is_some() {
                        return event;
                    }
                }
            }
        }
    }
}

/// What a control frame says, by its first number.
fn event_of(kind: u16, last: bool, number: u32) -> Option<Event> {
    let stream = number & 0x7fff_ffff;
    match kind {
        RST_STREAM => Some(Event::Reset { stream }),
        PING => Some(Event::Ping { id: number }),
        SYN_REPLY | HEADERS if last => Some(Event::End { stream }),
        // GOAWAY forbids new streams, and there are none; SETTINGS and WINDOW_UPDATE ask for nothing that is done here
        _ => None,
    }
}

fn fill(into: &mut [u8], from: &mut Bytes) -> usize {
    let count = into.len().min(from.len());
    from.copy_to_slice(&mut into[..count]);
    count
}

#[cfg(test)]
mod tests;
