//! What the relay answers to a question, and how the program gets it.

use super::question::{self, HEADER};
use super::state::{Options, options};
use crate::control::{self, AskError};
use crate::errno::Errno;
use crate::failure::host_errno;
use crate::lookup::Allocation;
use crate::session::Session;
use core::ptr;
use kinject_protocol::NameFailure;
use kinject_protocol::control::{DnsTransport, MAX_ANSWER, MAX_MESSAGE, ReplyRef, Request, Search};
use libc::c_int;

/// The codes of servers that libc leaves for the next one: SERVFAIL, NOTIMP, REFUSED.
const SERVER_TROUBLE: [u8; 3] = [2, 4, 5];

/// Where the program wants the answer.
#[derive(Clone, Copy)]
pub(super) struct AnswerBuffer {
    buffer: *mut u8,
    size: usize,
}

/// What the program got.
#[derive(Clone, Copy)]
pub(super) struct Delivered {
    /// The answer's length, which may be more than there was room for.
    pub(super) length: c_int,
    code: u8,
    has_answers: bool,
}

/// Why it got nothing, or nothing of use.
pub(super) enum Refusal {
    /// A search came to nothing.
    Failed(NameFailure),
    /// No server answered as it should.
    NoServer,
    System(Errno),
}

impl AnswerBuffer {
    /// # Safety
    ///
    /// `buffer` has to be writable for `size` bytes for as long as the place is used.
    pub(super) unsafe fn new(buffer: *mut u8, size: c_int) -> Self {
        Self {
            buffer,
            size: usize::try_from(size).unwrap_or(0),
        }
    }

    /// Puts an answer there as far as it goes.
    fn put(self, answer: &[u8]) {
        let length = answer.len().min(self.size);
        // SAFETY: the place is writable for that many bytes, and no message lies in a program's buffer
        unsafe { ptr::copy_nonoverlapping(answer.as_ptr(), self.buffer, length) };
    }
}

impl Delivered {
    /// The `h_errno` of an answer that is none.
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

    /// The `errno` of res_send(3), where there is one.
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
    wanted: Options,
    place: AnswerBuffer,
) -> Result<Delivered, Refusal> {
    if place.size < HEADER {
        return Err(Refusal::System(Errno(libc::EINVAL)));
    }
    let mut buffer = Allocation::of_size(MAX_ANSWER).ok_or(Refusal::System(Errno(libc::ENOMEM)))?;
    let is_stream = question::is_for_stream(message, wanted);
    let way = if !is_stream && wanted.has(options::IGNORE_TRUNCATION) {
        DnsTransport::Datagram
    } else {
        DnsTransport::Stream
    };
    let request = Request::Query {
        transport: way,
        search,
        message,
    };
    let length = match control::ask(session, &request, buffer.bytes()) {
        Ok(ReplyRef::Answer(answer)) => answer.len(),
        Ok(ReplyRef::NameFailed(failure)) => return Err(Refusal::Failed(failure)),
        // not an answer to what was asked
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
            | ReplyRef::File,
        )
        // of another network namespace libc was asked before
        | Err(AskError::NoRelay | AskError::Elsewhere) => return Err(Refusal::NoServer),
        Err(AskError::NoSocket(error)) => return Err(Refusal::System(error)),
    };
    let answer = buffer
        .bytes()
        .get_mut(MAX_ANSWER - MAX_MESSAGE..)
        .and_then(|rest| rest.get_mut(..length))
        .ok_or(Refusal::NoServer)?;
    // what is too long for a datagram comes again over TCP
    let is_stream = is_stream || (way == DnsTransport::Stream && length > question::datagram_limit(message));
    deliver(answer, is_stream, wanted, message, place)
}

/// Copies the answer as libc would after it came over TCP or UDP.
fn deliver(
    answer: &mut [u8],
    is_stream: bool,
    wanted: Options,
    message: &[u8],
    place: AnswerBuffer,
) -> Result<Delivered, Refusal> {
    let whole = answer.len();
    let Some([id_high, id_low, high, low, _, _, count_high, count_low, ..]) = answer.get_mut(..HEADER) else {
        return Err(Refusal::NoServer);
    };
    if !message.starts_with(&[*id_high, *id_low]) {
        return Err(Refusal::NoServer);
    }
    if !wanted.has(options::TRUST_AD) {
        *low &= !0x20;
    }
    let is_cut = whole > place.size;
    if is_stream && is_cut {
        *high |= 0x02;
    }
    let code = *low & 0x0f;
    let has_answers = (*count_high, *count_low) != (0, 0);
    place.put(answer);
    if !is_stream && !wanted.shows_failures && SERVER_TROUBLE.contains(&code) {
        return Err(Refusal::NoServer);
    }
    let length = if is_stream { whole } else { whole.min(place.size) };
    Ok(Delivered {
        length: c_int::try_from(length).unwrap_or(c_int::MAX),
        code,
        has_answers,
    })
}
