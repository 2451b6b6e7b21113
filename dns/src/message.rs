//! DNS messages as bytes (RFC 1035, 4.1): what forwarding them needs.
//!
//! Relay and agent forward messages. They read them as bytes and do not parse them into records with a library:
//!
//! - A name server's answer reaches the program unchanged, with every type and every extension
//!   (`forwarded_message_changes_only_in_its_id_and_ttls`).
//! - An answer with a record that cannot be parsed is forwarded as well: the program may not need that record
//!   (`answer_with_an_unparsable_record_is_still_forwarded`).
//! - It is cheap: with hickory-proto the relay would need 2.6 µs instead of 0.34 µs for each message, and the agent,
//!   which uses it for nothing else, would be a tenth larger.
//!
//! A message's lengths and counts are checked against its bytes, and compression pointers in names are not followed.
//! Where the names in records matter (CNAME, PTR), the relay parses them with hickory-proto; tests compare it with this
//! module.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

/// The length of a message's header.
const HEADER: usize = 12;

/// The longest name as bytes (2.3.4).
const MAX_NAME: usize = 255;

/// The longest label (2.3.4).
const MAX_LABEL: usize = 63;

/// The longest answer over UDP to a question without an OPT record (2.3.4).
const SMALLEST_LIMIT: u16 = 512;

const TYPE_A: u16 = 1;
const TYPE_SOA: u16 = 6;
const TYPE_PTR: u16 = 12;
const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;

/// The response code of an answer (4.1.1), as far as callers distinguish it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The name exists.
    NoError,
    /// The server could not parse the question.
    FormErr,
    /// The server failed.
    ServFail,
    /// The name does not exist.
    NxDomain,
    /// Any other code, such as REFUSED.
    Other,
}

/// A query with one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    message: &'a [u8],
    /// End of the question's name.
    name_end: usize,
}

/// Why a message is not a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It gets no answer: noise, or itself an answer.
    Unanswerable,
    /// It does not have exactly one question that can be parsed.
    Malformed,
}

impl<'a> Query<'a> {
    /// Parses a message.
    pub fn parse(message: &'a [u8]) -> Result<Self, Fault> {
        if message.len() < HEADER || message[2] & 0x80 != 0 {
            return Err(Fault::Unanswerable);
        }
        let name_end = plain_name_end(message, HEADER).ok_or(Fault::Malformed)?;
        if u16_at(message, 4) != Some(1) || message.len() < name_end + 4 {
            return Err(Fault::Malformed);
        }
        Ok(Self { message, name_end })
    }

    /// Its labels, first first.
    pub fn labels(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = &self.message[HEADER..self.name_end];
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first()?;
            let (label, next) = behind.split_at_checked(usize::from(*length))?;
            rest = next;
            (!label.is_empty()).then_some(label)
        })
    }

    /// Its name as text, for log lines and for comparing it with domains: bytes that are not text are replaced.
    pub fn name(&self) -> String {
        let labels: Vec<_> = self.labels().map(String::from_utf8_lossy).collect();
        labels.join(".").replace(char::is_control, "?")
    }

    /// The address whose name it asks for, if it is a PTR question (RFC 1035, 3.5; RFC 3596, 2.5).
    pub fn reversed_address(&self) -> Option<IpAddr> {
        if u16_at(self.message, self.name_end) != Some(TYPE_PTR) {
            return None;
        }
        let mut labels: Vec<&str> = self
            .labels()
            .map(std::str::from_utf8)
            .collect::<Result<_, _>>()
            .ok()?;
        let is_under = |labels: &[&str], zone: &str| match labels {
            [.., parent, arpa] => parent.eq_ignore_ascii_case(zone) && arpa.eq_ignore_ascii_case("arpa"),
            _ => false,
        };
        let (v4, v6) = (is_under(&labels, "in-addr"), is_under(&labels, "ip6"));
        labels.truncate(labels.len().saturating_sub(2));
        labels.reverse();
        match (v4, v6, labels.len()) {
            (true, _, 4) => labels.join(".").parse().ok().map(IpAddr::V4),
            (_, true, 32) if labels.iter().all(|label| label.len() == 1) => {
                let bits = u128::from_str_radix(&labels.concat(), 16).ok()?;
                Some(IpAddr::V6(bits.into()))
            }
            _ => None,
        }
    }

    /// The same question about another name; none if the name is too long.
    pub fn about(&self, name: &[u8]) -> Option<Vec<u8>> {
        let whole = [&self.message[..HEADER], name, &self.message[self.name_end..]].concat();
        (name.len() <= MAX_NAME).then_some(whole)
    }

    /// The question's name with a domain appended, in the form of [`Self::about`].
    pub fn name_under(&self, domain: &[u8]) -> Vec<u8> {
        // the last byte is the root label
        [&self.message[HEADER..self.name_end - 1], domain].concat()
    }

    /// The question's own name, in the form of [`Self::about`].
    pub fn own_name(&self) -> &'a [u8] {
        &self.message[HEADER..self.name_end]
    }

    /// Its identifier.
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.message[0], self.message[1]])
    }

    /// An answer with this code, for a query that no server answers.
    pub fn refusal(&self, code: Code) -> Vec<u8> {
        refusal(self.message, code)
    }

    /// The same with this identifier.
    pub fn with_id(&self, id: u16) -> Vec<u8> {
        let mut message = self.message.to_vec();
        set_id(&mut message, id);
        message
    }

    /// The same query for a name server, under this identifier.
    pub fn outgoing(self, id: u16) -> Outgoing<'a> {
        Outgoing {
            message: self.with_id(id),
            query: self,
            id,
        }
    }

    /// Whether its answer may be cached for other programs: a standard query without a signature.
    pub fn is_common(&self) -> bool {
        let is_standard = self.message[2] & 0x78 == 0;
        let is_opt = |record: &Record| record.kind == TYPE_OPT;
        is_standard && records(self.message).is_some_and(|records| records.iter().all(is_opt))
    }

    /// Whether a message answers this query under that identifier. An answer without the question is accepted only with
    /// an error code.
    pub fn is_answered_by(&self, id: u16, answer: &[u8]) -> bool {
        if answer.len() < HEADER || answer[..2] != id.to_be_bytes() || answer[2] & 0x80 == 0 {
            return false;
        }
        match u16_at(answer, 4) {
            Some(0) => code(answer) != Code::NoError,
            Some(1) => answer
                .get(HEADER..self.name_end + 4)
                .is_some_and(|found| found.eq_ignore_ascii_case(&self.message[HEADER..self.name_end + 4])),
            _ => false,
        }
    }
}

/// A query for a name server, under a random identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    query: Query<'a>,
    id: u16,
    message: Vec<u8>,
}

impl Outgoing<'_> {
    /// What is sent.
    pub fn bytes(&self) -> &[u8] {
        &self.message
    }

    /// Whether a message is the answer to it.
    pub fn is_answered_by(&self, answer: &[u8]) -> bool {
        self.query.is_answered_by(self.id, answer)
    }

    /// Replaces the identifier of its answer by that of the original query.
    pub fn restore_id(&self, answer: &mut [u8]) {
        set_id(answer, self.query.id());
    }
}

/// An answer with this code to a message that no server answers; the message has at least a header.
pub fn refusal(message: &[u8], code: Code) -> Vec<u8> {
    let question = Query::parse(message).ok().map(|query| query.name_end + 4);
    let mut answer = message[..question.unwrap_or(HEADER)].to_vec();
    // an answer; opcode and "recursion desired" as they were; recursion is available
    answer[2] = 0x80 | answer[2] & 0x79;
    answer[3] = 0x80
        | match code {
            Code::NoError => 0,
            Code::FormErr => 1,
            Code::ServFail => 2,
            Code::NxDomain => 3,
            Code::Other => 5,
        };
    answer[4..HEADER].fill(0);
    answer[5] = u8::from(question.is_some());
    answer
}

/// The longest answer over UDP: the size in the question's OPT record (RFC 6891, 6.2.3), or 512 bytes.
fn limit(question: &[u8]) -> usize {
    let edns = records(question)
        .and_then(|records| records.into_iter().find(|record| record.kind == TYPE_OPT))
        .map_or(SMALLEST_LIMIT, |opt| opt.class);
    usize::from(edns.max(SMALLEST_LIMIT))
}

/// Removes all records after the answer section.
pub fn keep_answers_alone(answer: &mut Vec<u8>) {
    let count = usize::from(u16_at(answer, 6).unwrap_or_default());
    let Some(records) = records(answer) else { return };
    let last = count.checked_sub(1).and_then(|last| records.get(last));
    let end = last
        .map(|record| record.whole.end)
        .or_else(|| question_end(answer));
    if let Some(end) = end {
        answer.truncate(end);
        answer[8..HEADER].fill(0);
    }
}

/// Truncates an answer that is too long for UDP to its question, and sets TC.
pub fn truncate(question: &[u8], mut answer: Vec<u8>) -> Vec<u8> {
    if answer.len() <= limit(question).max(HEADER) {
        return answer;
    }
    let end = question_end(&answer).filter(|end| *end <= usize::from(SMALLEST_LIMIT));
    let opt = records(&answer).and_then(|records| {
        let opt = records.into_iter().find(|record| record.kind == TYPE_OPT)?;
        Some(answer[opt.whole].to_vec())
    });
    let end = end.unwrap_or_else(|| {
        answer[4..6].fill(0);
        HEADER
    });
    answer.truncate(end);
    answer[2] |= 0x02;
    answer[6..HEADER].fill(0);
    if let Some(opt) = opt.filter(|opt| opt.len() <= usize::from(SMALLEST_LIMIT) - end) {
        answer[11] = 1;
        answer.extend(opt);
    }
    answer
}

/// The code of an answer.
pub fn code(answer: &[u8]) -> Code {
    match answer.get(3).map(|flags| flags & 0x0f) {
        Some(0) => Code::NoError,
        Some(1) => Code::FormErr,
        Some(2) => Code::ServFail,
        Some(3) => Code::NxDomain,
        _ => Code::Other,
    }
}

/// Whether the answer is SERVFAIL, NOTIMP or REFUSED, after which libc asks the next server.
pub fn is_for_next_server(answer: &[u8]) -> bool {
    answer
        .get(3)
        .is_some_and(|flags| matches!(flags & 0x0f, 2 | 4 | 5))
}

/// Whether the answer section has records.
pub fn has_answers(answer: &[u8]) -> bool {
    u16_at(answer, 6).is_some_and(|count| count > 0)
}

/// Whether the answer was truncated (TC).
pub fn is_truncated(answer: &[u8]) -> bool {
    answer.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

/// Sets the identifier of a message.
pub fn set_id(message: &mut [u8], id: u16) {
    if let Some(field) = message.get_mut(..2) {
        field.copy_from_slice(&id.to_be_bytes());
    }
}

/// The TTL of an answer; none if it has none.
pub fn ttl(answer: &[u8]) -> Option<Duration> {
    let records = records(answer)?;
    let seconds = match (code(answer), has_answers(answer)) {
        (Code::NoError, true) => {
            let answers = records.iter().take(usize::from(u16_at(answer, 6)?));
            answers.map(|record| record.ttl).min()?
        }
        (Code::NoError | Code::NxDomain, _) => {
            // RFC 2308, 5: the lesser of the SOA record's own TTL and its last field
            let soa = records.iter().find(|record| record.kind == TYPE_SOA)?;
            let data = &answer[soa.data.clone()];
            let minimum = data.last_chunk().map(|bytes| u32::from_be_bytes(*bytes))?;
            soa.ttl.min(minimum)
        }
        _ => return None,
    };
    Some(Duration::from_secs(seconds.into()))
}

/// Reduces the TTLs of an answer by the time that it was cached.
pub fn age(answer: &mut [u8], by: Duration) {
    let seconds = u32::try_from(by.as_secs()).unwrap_or(u32::MAX);
    for record in records(answer).unwrap_or_default() {
        if record.kind != TYPE_OPT {
            let left = record.ttl.saturating_sub(seconds);
            answer[record.data.start - 6..record.data.start - 2].copy_from_slice(&left.to_be_bytes());
        }
    }
}

/// The addresses in the answer section.
pub fn addresses(answer: &[u8]) -> Vec<IpAddr> {
    let count = usize::from(u16_at(answer, 6).unwrap_or_default());
    addresses_in(answer, count)
}

/// The addresses in all sections.
pub fn all_addresses(answer: &[u8]) -> Vec<IpAddr> {
    addresses_in(answer, usize::MAX)
}

/// The addresses in the first `count` records.
fn addresses_in(answer: &[u8], count: usize) -> Vec<IpAddr> {
    let records = records(answer).unwrap_or_default();
    let records = records
        .into_iter()
        .take(count)
        .filter(|record| record.class == CLASS_IN);
    records
        .filter_map(|record| {
            let data = answer.get(record.data)?;
            match record.kind {
                TYPE_A => Some(IpAddr::from(<[u8; 4]>::try_from(data).ok()?)),
                TYPE_AAAA => Some(IpAddr::from(<[u8; 16]>::try_from(data).ok()?)),
                _ => None,
            }
        })
        .collect()
}

/// A domain of a search list in wire format; none if it is not a valid name.
pub fn domain(text: &str) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(text.len() + 2);
    for label in text.split('.').filter(|_| !text.is_empty()) {
        if !(1..=MAX_LABEL).contains(&label.len()) {
            return None;
        }
        name.push(label.len() as u8);
        name.extend(label.as_bytes());
    }
    name.push(0);
    (name.len() <= MAX_NAME).then_some(name)
}

/// One record of any section but the questions.
#[derive(Debug)]
struct Record {
    kind: u16,
    /// For an OPT record: the longest datagram that its sender accepts.
    class: u16,
    ttl: u32,
    data: Range<usize>,
    whole: Range<usize>,
}

/// All records in order; none for a malformed message.
fn records(message: &[u8]) -> Option<Vec<Record>> {
    let mut at = question_end(message)?;
    let count: usize = [6, 8, 10]
        .into_iter()
        .map(|offset| u16_at(message, offset).map(usize::from))
        .sum::<Option<usize>>()?;
    // a record takes at least eleven bytes, which bounds the claimed count
    let mut records = Vec::with_capacity(count.min(message.len() / 11));
    for _ in 0..count {
        let start = at;
        at = name_end(message, at)?;
        let fixed: &[u8; 10] = message.get(at..)?.first_chunk()?;
        let [k0, k1, c0, c1, t0, t1, t2, t3, l0, l1] = *fixed;
        let data = at + 10..at + 10 + usize::from(u16::from_be_bytes([l0, l1]));
        at = data.end;
        message.get(data.clone())?;
        records.push(Record {
            kind: u16::from_be_bytes([k0, k1]),
            class: u16::from_be_bytes([c0, c1]),
            ttl: u32::from_be_bytes([t0, t1, t2, t3]),
            data,
            whole: start..at,
        });
    }
    Some(records)
}

/// The end of the question section.
fn question_end(message: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    for _ in 0..u16_at(message, 4)? {
        at = name_end(message, at)? + 4;
    }
    (at <= message.len()).then_some(at)
}

/// The end of a name in place; a compression pointer ends it.
fn name_end(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *message.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=0x3f => at += 1 + usize::from(length),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

/// The end of a name without compression pointers, as in a question.
fn plain_name_end(message: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1 + length;
        if length > MAX_LABEL || at - start > MAX_NAME {
            return None;
        }
        if length == 0 {
            return Some(at);
        }
    }
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
