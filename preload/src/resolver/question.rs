//! A question on its way: what the message says of itself.

use super::state::{self, Options, State, make_query, options};
use libc::{c_char, c_int};

/// The length of a message's header.
pub(super) const HEADER: usize = 12;

/// The longest message that libc sends over UDP, and the longest answer to a question without EDNS.
const PACKET: usize = 512;

/// An OPT record without options (RFC 6891, 6.1.2).
const OPT: usize = 11;

/// What libc says at most that it takes over UDP.
const LARGEST_PAYLOAD: usize = 1200;

/// The DNSSEC bit in the flags of an OPT record (RFC 3225).
const DNSSEC_OK: u8 = 0x80;

/// A question for one name, on the stack.
pub(super) struct Question {
    bytes: [u8; PACKET],
    length: usize,
}

impl Question {
    /// Writes it as libc does, with EDNS where the state asks for it; none if the name is none.
    ///
    /// # Safety
    ///
    /// `state` has to point to a resolver's state, and `name` to a C string.
    pub(super) unsafe fn new(
        state: *mut State,
        name: *const c_char,
        class: c_int,
        kind: c_int,
        room: c_int,
    ) -> Option<Self> {
        let mut question = Self {
            bytes: [0; PACKET],
            length: 0,
        };
        // SAFETY: the caller vouches for state and name
        question.length = unsafe { make_query(state, name, class, kind, &mut question.bytes) }?;
        // SAFETY: as above
        let wanted = unsafe { state::options(state) };
        if wanted.has(options::USE_EDNS0 | options::USE_DNSSEC) {
            question.add_edns(wanted.has(options::USE_DNSSEC), room);
        }
        Some(question)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }

    fn add_edns(&mut self, is_dnssec: bool, room: c_int) {
        let payload = usize::try_from(room).unwrap_or(0).clamp(PACKET, LARGEST_PAYLOAD);
        let [high, low] = (payload as u16).to_be_bytes();
        let flags = if is_dnssec { DNSSEC_OK } else { 0 };
        let record: [u8; OPT] = [0, 0, 41, high, low, 0, 0, flags, 0, 0, 0];
        let Some(place) = self.bytes.get_mut(self.length..) else {
            return;
        };
        if place.len() < OPT {
            return;
        }
        for (place, byte) in place.iter_mut().zip(record) {
            *place = byte;
        }
        self.length = self.length.saturating_add(OPT);
        // the number of additional records, which was none
        if let Some(count) = self.bytes.get_mut(HEADER - 1) {
            *count = 1;
        }
    }
}

/// Does libc send this message over TCP from the start?
pub(super) fn is_for_stream(message: &[u8], wanted: Options) -> bool {
    wanted.has(options::USE_VC) || message.len() > PACKET
}

/// How long an answer over UDP may be: what an OPT record at the message's end says.
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
