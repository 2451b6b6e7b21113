//! A query message: how libc writes it, and what it says of its transport.

use super::state::{self, Options, State, bits, make_query};
use libc::{c_char, c_int};

/// The length of a message's header.
pub(super) const HEADER: usize = 12;

/// The longest message that libc sends over UDP, and the longest answer to a question without EDNS.
const PACKET: usize = 512;

/// An OPT record without options (RFC 6891, 6.1.2).
const OPT: usize = 11;

/// The largest UDP payload that libc announces.
const LARGEST_PAYLOAD: usize = 1200;

/// The DNSSEC bit in the flags of an OPT record (RFC 3225).
const DNSSEC_OK: u8 = 0x80;

/// A question for one name, on the stack.
pub(super) struct Question {
    bytes: [u8; PACKET],
    length: usize,
}

impl Question {
    /// Writes it as libc does, with EDNS if the state's options say so; none if the name is not valid.
    ///
    /// # Safety
    ///
    /// `state` has to point to a resolver's state, and `name` to a C string.
    pub(super) unsafe fn new(
        state: *mut State,
        name: *const c_char,
        class: c_int,
        kind: c_int,
        answer_size: c_int,
    ) -> Option<Self> {
        let mut question = Self {
            bytes: [0; PACKET],
            length: 0,
        };
        // SAFETY: the caller vouches for state and name
        question.length = unsafe { make_query(state, name, class, kind, &mut question.bytes) }?;
        // SAFETY: as above
        let options = unsafe { state::options(state) };
        if options.has(bits::USE_EDNS0 | bits::USE_DNSSEC) {
            question.add_edns(options.has(bits::USE_DNSSEC), answer_size);
        }
        Some(question)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }

    fn add_edns(&mut self, is_dnssec: bool, answer_size: c_int) {
        let payload = usize::try_from(answer_size)
            .unwrap_or(0)
            .clamp(PACKET, LARGEST_PAYLOAD);
        let [high, low] = (payload as u16).to_be_bytes();
        let flags = if is_dnssec { DNSSEC_OK } else { 0 };
        let record: [u8; OPT] = [0, 0, 41, high, low, 0, 0, flags, 0, 0, 0];
        let Some(free) = self.bytes.get_mut(self.length..) else {
            return;
        };
        if free.len() < OPT {
            return;
        }
        for (field, byte) in free.iter_mut().zip(record) {
            *field = byte;
        }
        self.length = self.length.saturating_add(OPT);
        // the number of additional records, which was none
        if let Some(count) = self.bytes.get_mut(HEADER - 1) {
            *count = 1;
        }
    }
}

/// Does libc send this message over TCP at once?
pub(super) fn starts_over_tcp(message: &[u8], options: Options) -> bool {
    options.has(bits::USE_VC) || message.len() > PACKET
}

/// The longest answer over UDP, by the OPT record at the end of the message.
pub(super) fn datagram_limit(message: &[u8]) -> usize {
    let Some((_, opt)) = message.split_last_chunk::<OPT>() else {
        return PACKET;
    };
    let has_additional = message.get(HEADER - 1).is_some_and(|count| *count != 0);
    match *opt {
        [0, 0, 41, high, low, _, _, _, _, 0, 0] if has_additional => {
            usize::from(u16::from_be_bytes([high, low])).max(PACKET)
        }
        _ => PACKET,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolver::state::options_of_bits;

    /// A header that counts one additional record, and an OPT record with this payload.
    fn with_opt(payload: u16) -> Vec<u8> {
        let mut message = vec![0; HEADER];
        message[HEADER - 1] = 1;
        let [high, low] = payload.to_be_bytes();
        message.extend([0, 0, 41, high, low, 0, 0, 0, 0, 0, 0]);
        message
    }

    #[test]
    fn message_starts_over_tcp_if_it_is_long_or_the_state_says_so() {
        let (short, long) = ([0; PACKET], [0; PACKET + 1]);
        assert!(!starts_over_tcp(&short, options_of_bits(0)));
        assert!(starts_over_tcp(&long, options_of_bits(0)));
        assert!(starts_over_tcp(&short, options_of_bits(bits::USE_VC)));
    }

    #[test]
    fn answer_over_udp_is_limited_by_opt_record_or_to_512_bytes() {
        assert_eq!(datagram_limit(&with_opt(1200)), 1200);
        assert_eq!(datagram_limit(&with_opt(100)), PACKET);
        assert_eq!(datagram_limit(&[0; HEADER]), PACKET);
        assert_eq!(datagram_limit(b""), PACKET);
        let mut without_record = with_opt(1200);
        without_record[HEADER - 1] = 0;
        assert_eq!(datagram_limit(&without_record), PACKET);
    }
}
