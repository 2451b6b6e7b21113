//! The frames of SPDY/3.1, as far as a port-forward needs them.
//!
//! Every frame starts with a header of eight bytes: a stream identifier, or, with the highest bit set, version and
//! type; then eight bits of flags and 24 of length (draft-mbelshe-httpbis-spdy-00, 2.2). The relay opens streams and
//! sends data. It does not use the headers that the server sends, so it decompresses nothing. Its own header blocks
//! have to be in zlib format; a stored (uncompressed) block needs neither SPDY's dictionary nor a compressor.

use bytes::{Buf, BufMut, Bytes};

/// The length of a frame's header.
pub(super) const HEADER_BYTES: usize = 8;
/// SPDY's third version in a control frame's first two bytes.
const CONTROL: u16 = 0x8003;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const HEADERS: u16 = 8;
/// The flag of a stream's last frame.
const FIN: u8 = 1;
/// The header of a zlib stream (RFC 1950): deflate, with the largest window, without a dictionary.
const ZLIB_HEADER: [u8; 2] = [0x78, 0x01];

/// A frame of the server's, or a piece of one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Bytes of a stream; `end_of_frame` with the last ones of their frame.
    Data {
        stream: u32,
        bytes: Bytes,
        end_of_frame: bool,
    },
    /// The server has half-closed a stream.
    End { stream: u32 },
    /// The server has reset a stream.
    Reset { stream: u32 },
    /// A ping, which is to be sent back.
    Ping { id: u32 },
}

/// The header of a data frame.
pub(super) fn data(stream: u32, length: u32, fin: bool) -> [u8; HEADER_BYTES] {
    let flags = if fin { FIN } else { 0 };
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

/// Opens streams. All their header blocks form one zlib stream.
#[derive(Default)]
pub(super) struct Opener {
    has_started: bool,
}

impl Opener {
    /// The frame that opens a stream with these headers, whose names are in lower case.
    pub(super) fn open(&mut self, into: &mut Vec<u8>, stream: u32, headers: &[(&str, &str)]) {
        let block = self.compress(&header_block(headers));
        control(into, SYN_STREAM, 10 + length_of(&block));
        into.put_u32(stream);
        // no associated stream, the highest priority, no slot for credentials
        into.put_u32(0);
        into.put_u16(0);
        into.extend_from_slice(&block);
    }

    /// A stored block of deflate, and an empty one, at which the reader flushes its output (RFC 1951, 3.2.4).
    fn compress(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut block = Vec::with_capacity(plain.len() + 12);
        if !std::mem::replace(&mut self.has_started, true) {
            block.extend_from_slice(&ZLIB_HEADER);
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

/// Decodes frames from bytes that arrive in pieces of any size.
pub(super) struct Decoder {
    state: State,
}

enum State {
    /// Before a frame, or within its header.
    Header {
        bytes: [u8; HEADER_BYTES],
        filled: usize,
    },
    /// Within a data frame.
    Data {
        stream: u32,
        remaining: usize,
        fin: bool,
    },
    /// Within a control frame, of which only the first number is used.
    Control {
        kind: u16,
        fin: bool,
        number: [u8; 4],
        filled: usize,
        remaining: usize,
    },
}

impl State {
    const FRAME_START: Self = Self::Header {
        bytes: [0; HEADER_BYTES],
        filled: 0,
    };

    fn of_frame(header: [u8; HEADER_BYTES]) -> Self {
        let header = u64::from_be_bytes(header);
        let fin = (header >> 24) as u8 & FIN != 0;
        let remaining = (header & 0x00ff_ffff) as usize;
        let stream = (header >> 32) as u32;
        if stream & 0x8000_0000 == 0 {
            return Self::Data {
                stream,
                remaining,
                fin,
            };
        }
        Self::Control {
            kind: stream as u16,
            fin,
            number: [0; 4],
            filled: 0,
            remaining,
        }
    }
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            state: State::FRAME_START,
        }
    }

    /// The next event in these bytes; none when they are used up.
    pub(super) fn next(&mut self, bytes: &mut Bytes) -> Option<Event> {
        loop {
            match &mut self.state {
                State::Header {
                    bytes: header,
                    filled,
                } => {
                    *filled += fill(&mut header[*filled..], bytes);
                    if *filled < HEADER_BYTES {
                        return None;
                    }
                    self.state = State::of_frame(*header);
                }
                State::Data {
                    stream,
                    remaining,
                    fin,
                } => {
                    if *remaining > 0 && bytes.is_empty() {
                        return None;
                    }
                    let piece = bytes.split_to(bytes.len().min(*remaining));
                    *remaining -= piece.len();
                    let (stream, end_of_frame, fin) = (*stream, *remaining == 0, *fin);
                    if end_of_frame {
                        self.state = State::FRAME_START;
                    }
                    if piece.is_empty() {
                        match fin {
                            true => return Some(Event::End { stream }),
                            false => continue,
                        }
                    }
                    if end_of_frame && fin {
                        // the next call returns the end of the stream
                        self.state = State::Data {
                            stream,
                            remaining: 0,
                            fin: true,
                        };
                    }
                    return Some(Event::Data {
                        stream,
                        bytes: piece,
                        end_of_frame,
                    });
                }
                State::Control {
                    kind,
                    fin,
                    number,
                    filled,
                    remaining,
                } => {
                    let wanted = number.len().min(*filled + *remaining);
                    let count = fill(&mut number[*filled..wanted], bytes);
                    (*filled, *remaining) = (*filled + count, *remaining - count);
                    let skipped = bytes.len().min(*remaining);
                    bytes.advance(skipped);
                    *remaining -= skipped;
                    if *remaining > 0 {
                        return None;
                    }
                    let event = event_of(*kind, *fin, u32::from_be_bytes(*number));
                    self.state = State::FRAME_START;
                    if event.is_some() {
                        return event;
                    }
                }
            }
        }
    }
}

/// The event of a control frame, by the first number in it.
fn event_of(kind: u16, fin: bool, number: u32) -> Option<Event> {
    let stream = number & 0x7fff_ffff;
    match kind {
        RST_STREAM => Some(Event::Reset { stream }),
        PING => Some(Event::Ping { id: number }),
        SYN_REPLY | HEADERS if fin => Some(Event::End { stream }),
        // GOAWAY forbids new streams, of which there are none; SETTINGS and WINDOW_UPDATE concern nothing that the
        // relay does
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
