//! Datagrams as capsules (RFC 9297, 3), which keep datagram boundaries in a byte stream.
//!
//! ```text
//! capsule   type (varint) length (varint) value
//! DATAGRAM  0x00, then as its value: context (varint), payload (RFC 9298, 5)
//! ```
//!
//! Context 0 is a UDP payload; no other context is defined. Capsules of other types are skipped, as the standard
//! requires.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest payload of a UDP datagram, over IPv6; IPv4 has room for 65,507 bytes.
pub(crate) const MOST_PAYLOAD: usize = 65_527;

/// Maximum bytes of the header before a payload.
pub(crate) const MOST_HEADER: usize = 6;

const DATAGRAM: u64 = 0;
const UDP_PAYLOAD: u64 = 0;

/// Bytes that are not valid capsules: the stream cannot be used any more (RFC 9297, 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a capsule is malformed")]
pub(crate) struct Malformed;

/// Appends one datagram.
pub(crate) fn put(buffer: &mut BytesMut, payload: &[u8]) {
    buffer.put_u8(DATAGRAM as u8);
    put_varint(buffer, payload.len() as u64 + 1);
    buffer.put_u8(UDP_PAYLOAD as u8);
    buffer.extend_from_slice(payload);
}

/// RFC 9000, 16.
fn put_varint(buffer: &mut BytesMut, value: u64) {
    match value {
        0..=0x3f => buffer.put_u8(value as u8),
        0x40..=0x3fff => buffer.put_u16(value as u16 | 0x4000),
        _ => buffer.put_u32(value as u32 | 0x8000_0000),
    }
}

/// Extracts the datagrams from a stream, however it is split into chunks.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    pending: Bytes,
    /// Remaining bytes of a capsule of an unknown type.
    to_skip: u64,
}

impl Decoder {
    /// Adds the next bytes of the stream.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if self.pending.is_empty() {
            self.pending = bytes;
            return;
        }
        let mut joined = BytesMut::from(std::mem::take(&mut self.pending));
        joined.extend_from_slice(&bytes);
        self.pending = joined.freeze();
    }

    /// The next complete datagram; none until more bytes arrive.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Malformed> {
        loop {
            let skipped = self.to_skip.min(self.pending.len() as u64);
            self.pending.advance(skipped as usize);
            self.to_skip -= skipped;
            let mut head = &self.pending[..];
            let (Some(kind), Some(length)) = (varint(&mut head), varint(&mut head)) else {
                return Ok(None);
            };
            if kind != DATAGRAM {
                self.pending.advance(self.pending.len() - head.len());
                self.to_skip = length;
                continue;
            }
            // the context identifier is one byte in practice, and eight bytes at most
            if length == 0 || length > MOST_PAYLOAD as u64 + 8 {
                return Err(Malformed);
            }
            let length = length as usize;
            if head.len() < length {
                return Ok(None);
            }
            self.pending.advance(self.pending.len() - head.len());
            let mut value = self.pending.split_to(length);
            let mut fields = &value[..];
            let context = varint(&mut fields).ok_or(Malformed)?;
            value.advance(value.len() - fields.len());
            match context {
                UDP_PAYLOAD if value.len() > MOST_PAYLOAD => return Err(Malformed),
                UDP_PAYLOAD => return Ok(Some(value)),
                _ => {}
            }
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let (first, _) = bytes.split_first()?;
    let length = 1 << (first >> 6);
    let (field, rest) = bytes.split_at_checked(length)?;
    let value = field.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    *bytes = rest;
    // the two highest bits encode the length
    Some(value & (u64::MAX >> (64 - 8 * length + 2)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(decoder: &mut Decoder) -> Vec<Bytes> {
        std::iter::from_fn(|| decoder.next().unwrap()).collect()
    }

    #[test]
    fn varints_match_the_examples_of_rfc_9000() {
        for (value, bytes) in [
            (37, &[0x25][..]),
            (15_293, &[0x7b, 0xbd]),
            (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
        ] {
            let mut buffer = BytesMut::new();
            put_varint(&mut buffer, value);
            assert_eq!(&buffer[..], bytes);
            assert_eq!(varint(&mut &buffer[..]), Some(value));
        }
        let longest = [0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c];
        assert_eq!(varint(&mut &longest[..]), Some(151_288_809_941_952_652));
        assert_eq!(varint(&mut &[0x40, 0x25][..]), Some(37));
        assert_eq!(varint(&mut &longest[..7]), None);
    }

    #[test]
    fn capsule_header_fits_the_reserved_bytes() {
        let mut buffer = BytesMut::new();
        put(&mut buffer, &vec![7; MOST_PAYLOAD]);
        assert_eq!(buffer.len(), MOST_PAYLOAD + MOST_HEADER);
    }

    #[test]
    fn unknown_capsule_types_and_contexts_are_skipped() {
        let mut decoder = Decoder::default();
        let mut stream = vec![0x40, 0x99, 3, 1, 2, 3];
        stream.extend([0, 3, 2, b'n', b'o']);
        stream.extend([0, 4, 0, b'y', b'e', b's']);
        for byte in stream {
            decoder.push(Bytes::copy_from_slice(&[byte]));
        }
        assert_eq!(all(&mut decoder), ["yes"]);
    }

    #[test]
    fn capsule_that_udp_cannot_carry_is_malformed() {
        let mut decoder = Decoder::default();
        let mut buffer = BytesMut::new();
        put(&mut buffer, &vec![0; MOST_PAYLOAD + 1]);
        decoder.push(buffer.freeze());
        assert_eq!(decoder.next(), Err(Malformed));
        let mut decoder = Decoder::default();
        decoder.push(Bytes::from_static(&[0, 0]));
        assert_eq!(decoder.next(), Err(Malformed));
    }

    proptest! {
        #[test]
        fn datagrams_keep_boundaries_however_the_stream_is_split(
            sizes in prop::collection::vec(0_usize..20_000, 1..6),
            cuts in prop::collection::vec(1_usize..9_000, 1..40),
        ) {
            let sent: Vec<Vec<u8>> =
                sizes.iter().enumerate().map(|(index, size)| vec![index as u8; *size]).collect();
            let mut stream = BytesMut::new();
            for datagram in &sent {
                put(&mut stream, datagram);
            }
            let mut stream = stream.freeze();
            let mut decoder = Decoder::default();
            let mut received = Vec::new();
            for cut in cuts.iter().cycle() {
                decoder.push(stream.split_to((*cut).min(stream.len())));
                received.extend(all(&mut decoder));
                if stream.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(received, sent);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            decoder.push(bytes.into());
            while let Ok(Some(_)) = decoder.next() {}
        }
    }
}
