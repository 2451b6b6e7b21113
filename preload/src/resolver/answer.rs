//! The relay's answer to a query, and how the program gets it.

use super::question::{self, HEADER};
use super::state::{Options, bits};
use crate::control::{self, AskError};
use crate::errno::Errno;
use crate::failure::host_errno;
use crate::lookup::Allocation;
use crate::session::Session;
use core::ptr;
use kinject_protocol::NameFailure;
use kinject_protocol::control::{DnsTransport, MAX_ANSWER, MAX_MESSAGE, ReplyRef, Request, Search};
use libc::c_int;

/// The response codes after which libc asks the next server: SERVFAIL, NOTIMP, REFUSED.
const SERVER_FAILURES: [u8; 3] = [2, 4, 5];

/// The program's buffer for the answer.
#[derive(Clone, Copy)]
pub(super) struct AnswerBuffer {
    buffer: *mut u8,
    size: usize,
}

/// An answer that was written into the program's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivered {
    /// The answer's length, which may exceed the buffer's.
    pub(super) length: c_int,
    code: u8,
    has_answers: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A search found no name.
    Failed(NameFailure),
    /// No server gave a usable answer.
    NoServer,
    System(Errno),
}

impl AnswerBuffer {
    /// # Safety
    ///
    /// `buffer` has to be null, or writable for `size` bytes for as long as this is used. Nothing is written to one that
    /// is null: the caller asks [`Self::is_null`] first.
    pub(super) unsafe fn new(buffer: *mut u8, size: c_int) -> Self {
        Self {
            buffer,
            size: usize::try_from(size).unwrap_or(0),
        }
    }

    pub(super) fn is_null(self) -> bool {
        self.buffer.is_null()
    }

    /// Writes an answer, truncated to the buffer's size.
    fn write(self, answer: &[u8]) {
        let length = answer.len().min(self.size);
        // SAFETY: the buffer is writable for that many bytes, and does not overlap with the reply
        unsafe { ptr::copy_nonoverlapping(answer.as_ptr(), self.buffer, length) };
    }
}

impl Delivered {
    /// The `h_errno` of an answer without records or with an error code.
    pub(super) fn host_error(self) -> Option<c_int> {
        match (self.code, self.has_answers) {
            (0, true) => None,
            (0, false) => Some(host_errno::NO_DATA),
            (2, _) => Some(host_errno::TRY_AGAIN),
            (3, _) => Some(host_errno::HOST_NOT_FOUND),
            _ => Some(host_errno::NO_RECOVERY),
        }
    }
}

impl Refusal {
    /// The `h_errno` of res_query(3) and res_search(3).
    pub(super) fn host_error(&self) -> c_int {
        match self {
            Self::Failed(failure) => crate::failure::host_error(*failure),
            Self::NoServer | Self::System(_) => host_errno::TRY_AGAIN,
        }
    }

    /// The `errno` of res_send(3), if there is one.
    pub(super) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Failed(_) => None,
            Self::NoServer => Some(Errno(libc::ETIMEDOUT)),
            Self::System(error) => Some(*error),
        }
    }
}

/// Asks the relay, and gives the program its answer.
pub(super) fn ask(
    session: &Session,
    message: &[u8],
    search: Option<Search>,
    options: Options,
    destination: AnswerBuffer,
) -> Result<Delivered, Refusal> {
    if destination.size < HEADER {
        return Err(Refusal::System(Errno(libc::EINVAL)));
    }
    let mut buffer = Allocation::of_size(MAX_ANSWER).ok_or(Refusal::System(Errno(libc::ENOMEM)))?;
    let transport = transport(message, options);
    let request = Request::Query {
        transport,
        search,
        message,
    };
    let length = match control::ask(session, &request, buffer.bytes()) {
        Ok(ReplyRef::Answer(answer)) => answer.len(),
        Ok(ReplyRef::NameFailed(failure)) => return Err(Refusal::Failed(failure)),
        // replies to other requests
        Ok(
            ReplyRef::Connected
            | ReplyRef::InProgress
            | ReplyRef::Local
            | ReplyRef::Failed(_)
            | ReplyRef::Peer(_)
            | ReplyRef::Unknown
            | ReplyRef::Addresses { .. }
            | ReplyRef::Names(_)
            | ReplyRef::Flow(_)
            | ReplyRef::StandIn(_)
            | ReplyRef::Noted
            | ReplyRef::File
            | ReplyRef::Errno(_),
        )
        // libc answers queries in another network namespace, before the relay is asked
        | Err(AskError::NoRelay | AskError::OtherNetwork) => return Err(Refusal::NoServer),
        Err(AskError::NoSocket(error)) => return Err(Refusal::System(error)),
    };
    let answer = buffer
        .bytes()
        .get_mut(MAX_ANSWER - MAX_MESSAGE..)
        .and_then(|rest| rest.get_mut(..length))
        .ok_or(Refusal::NoServer)?;
    let is_over_tcp = is_over_tcp(message, options, transport, length);
    deliver(answer, is_over_tcp, options, message, destination)
}

/// The transport on which the relay sends the message: TCP, unless the program gets a truncated answer over UDP.
fn transport(message: &[u8], options: Options) -> DnsTransport {
    match question::starts_over_tcp(message, options) || !options.has(bits::IGNORE_TRUNCATION) {
        true => DnsTransport::Stream,
        false => DnsTransport::Datagram,
    }
}

/// Whether libc would have got an answer of this length over TCP: at once, or again after a truncated one over UDP.
fn is_over_tcp(message: &[u8], options: Options, transport: DnsTransport, length: usize) -> bool {
    question::starts_over_tcp(message, options)
        || (transport == DnsTransport::Stream && length > question::datagram_limit(message))
}

/// Copies the answer as libc does after it came over TCP or UDP.
fn deliver(
    answer: &mut [u8],
    is_over_tcp: bool,
    options: Options,
    message: &[u8],
    destination: AnswerBuffer,
) -> Result<Delivered, Refusal> {
    let whole_length = answer.len();
    let Some([id_high, id_low, high, low, _, _, count_high, count_low, ..]) = answer.get_mut(..HEADER) else {
        return Err(Refusal::NoServer);
    };
    if !message.starts_with(&[*id_high, *id_low]) {
        return Err(Refusal::NoServer);
    }
    if !options.has(bits::TRUST_AD) {
        *low &= !0x20;
    }
    if is_over_tcp && whole_length > destination.size {
        *high |= 0x02;
    }
    let code = *low & 0x0f;
    let has_answers = (*count_high, *count_low) != (0, 0);
    destination.write(answer);
    if !is_over_tcp && !options.shows_failures && SERVER_FAILURES.contains(&code) {
        return Err(Refusal::NoServer);
    }
    let length = match is_over_tcp {
        true => whole_length,
        false => whole_length.min(destination.size),
    };
    Ok(Delivered {
        length: c_int::try_from(length).unwrap_or(c_int::MAX),
        code,
        has_answers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolver::state::options_of_bits;
    use libc::c_ulong;

    const QUERY: [u8; HEADER] = [7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    /// An answer to [`QUERY`] with this response code and number of answers.
    fn answer(code: u8, answers: u8) -> Vec<u8> {
        let mut answer = vec![7, 7, 0x80, 0x80 | code, 0, 0, 0, answers, 0, 0, 0, 0];
        answer.resize(HEADER + 20, 0);
        answer
    }

    /// Delivers an answer into a buffer of this size; gives the buffer, too.
    fn delivered(
        mut answer: Vec<u8>,
        is_over_tcp: bool,
        option_bits: c_ulong,
        size: usize,
    ) -> (Result<Delivered, Refusal>, Vec<u8>) {
        let mut buffer = vec![0; size];
        // SAFETY: the buffer is as large as it says
        let destination = unsafe { AnswerBuffer::new(buffer.as_mut_ptr(), size as c_int) };
        let options = options_of_bits(option_bits);
        let result = deliver(&mut answer, is_over_tcp, options, &QUERY, destination);
        (result, buffer)
    }

    #[test]
    fn query_goes_over_udp_only_if_truncation_is_ignored() {
        let ignoring = options_of_bits(bits::IGNORE_TRUNCATION);
        let tcp = options_of_bits(bits::IGNORE_TRUNCATION | bits::USE_VC);
        assert_eq!(transport(&QUERY, options_of_bits(0)), DnsTransport::Stream);
        assert_eq!(transport(&QUERY, ignoring), DnsTransport::Datagram);
        assert_eq!(transport(&QUERY, tcp), DnsTransport::Stream);
    }

    #[test]
    fn answer_comes_over_tcp_if_it_exceeds_a_datagram() {
        let options = options_of_bits(0);
        assert!(!is_over_tcp(&QUERY, options, DnsTransport::Stream, 512));
        assert!(is_over_tcp(&QUERY, options, DnsTransport::Stream, 513));
        assert!(!is_over_tcp(&QUERY, options, DnsTransport::Datagram, 513));
        let tcp = options_of_bits(bits::USE_VC);
        assert!(is_over_tcp(&QUERY, tcp, DnsTransport::Stream, 12));
    }

    #[test]
    fn truncated_answer_over_tcp_has_its_whole_length_and_the_tc_bit() {
        let (result, buffer) = delivered(answer(0, 1), true, 0, HEADER);
        assert_eq!(result.map(|delivered| delivered.length), Ok(32));
        assert_eq!(buffer[2] & 0x02, 0x02);
    }

    #[test]
    fn truncated_answer_over_udp_has_the_buffers_length() {
        let (result, buffer) = delivered(answer(0, 1), false, 0, HEADER);
        assert_eq!(result.map(|delivered| delivered.length), Ok(12));
        assert_eq!(buffer[2] & 0x02, 0);
    }

    #[test]
    fn authentic_data_bit_is_kept_with_trust_ad_alone() {
        let mut authentic = answer(0, 1);
        authentic[3] |= 0x20;
        assert_eq!(delivered(authentic.clone(), true, 0, 64).1[3] & 0x20, 0);
        let (_, kept) = delivered(authentic, true, bits::TRUST_AD, 64);
        assert_eq!(kept[3] & 0x20, 0x20);
    }

    #[test]
    fn server_failure_over_udp_is_no_answer() {
        for code in [2, 4, 5] {
            assert_eq!(delivered(answer(code, 0), false, 0, 64).0, Err(Refusal::NoServer));
            assert!(delivered(answer(code, 0), true, 0, 64).0.is_ok());
        }
    }

    #[test]
    fn short_answer_or_other_identifier_is_no_answer() {
        assert_eq!(delivered(vec![7, 7], true, 0, 64).0, Err(Refusal::NoServer));
        let mut other = answer(0, 1);
        other[0] = 8;
        assert_eq!(delivered(other, true, 0, 64).0, Err(Refusal::NoServer));
    }

    #[test]
    fn answer_has_h_errno_of_its_code_and_records() {
        for (code, answers, expected) in [
            (0, 1, None),
            (0, 0, Some(host_errno::NO_DATA)),
            (2, 0, Some(host_errno::TRY_AGAIN)),
            (3, 0, Some(host_errno::HOST_NOT_FOUND)),
            (4, 1, Some(host_errno::NO_RECOVERY)),
        ] {
            let (result, _) = delivered(answer(code, answers), true, 0, 64);
            assert_eq!(
                result.map(Delivered::host_error),
                Ok(expected),
                "{code} {answers}"
            );
        }
    }
}
