//! As much of DNS messages (RFC 1035) as forwarding and address lookups need.

use std::net::IpAddr;

const HEADER: usize = 12;
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;
const POINTER: u8 = 0b1100_0000;
const CLASS_IN: u16 = 1;
const TYPE_CNAME: u16 = 5;

/// A record type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordType {
    A = 1,
    Aaaa = 28,
}

/// What an answer's code means for the choice of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rcode {
    /// The server could not or would not: SERVFAIL, NOTIMP, REFUSED.
    ServerTrouble,
    /// This is the answer: NOERROR, NXDOMAIN and the rest.
    Final,
}

/// What an answer says about a name's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Addresses {
    /// These, or none of this type.
    Found(Vec<IpAddr>),
    /// The name does not exist.
    NoSuchName,
    /// The server could not tell.
    Failed,
}

/// A query with one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    bytes: Vec<u8>,
    /// End of the question.
    question_end: usize,
}

impl Query {
    /// `None` if the message is an answer, has no or several questions, or a broken one.
    pub(super) fn parse(message: &[u8]) -> Option<Query> {
        if message.len() < HEADER || is_answer(message) || u16_at(message, 4)? != 1 {
            return None;
        }
        let name_end = skip_plain_name(message, HEADER)?;
        let question_end = name_end + 4;
        (question_end <= message.len()).then(|| Query {
            bytes: message.to_vec(),
            question_end,
        })
    }

    /// Asks for the records of a name, with recursion. `None` if the name is none.
    pub(super) fn new(name: &str, record_type: RecordType) -> Option<Query> {
        let mut bytes = vec![0, 0, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.strip_suffix('.').unwrap_or(name).split('.') {
            if label.is_empty() || label.len() > MAX_LABEL {
                return None;
            }
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        if bytes.len() - HEADER > MAX_NAME {
            return None;
        }
        bytes.extend_from_slice(&(record_type as u16).to_be_bytes());
        bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
        let question_end = bytes.len();
        Some(Query { bytes, question_end })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Sets the transaction id and returns the former one.
    pub(super) fn replace_id(&mut self, id: u16) -> u16 {
        let former = u16::from_be_bytes([self.bytes[0], self.bytes[1]]);
        set_id(&mut self.bytes, id);
        former
    }

    /// Whether this is an answer with our id to our question. An answer that repeats no question is one only when
    /// it reports a fault, as servers do that could not read ours.
    pub(super) fn is_answered_by(&self, answer: &[u8]) -> bool {
        if answer.len() < HEADER || answer[..2] != self.bytes[..2] || !is_answer(answer) {
            return false;
        }
        match u16_at(answer, 4) {
            Some(0) => answer[3] & 0x0f != 0,
            Some(1) => {
                let question = &self.bytes[HEADER..self.question_end];
                // Length bytes are below any letter, so this compares names without case.
                answer
                    .get(HEADER..self.question_end)
                    .is_some_and(|found| found.eq_ignore_ascii_case(question))
            }
            _ => false,
        }
    }
}

pub(super) fn set_id(message: &mut [u8], id: u16) {
    message[..2].copy_from_slice(&id.to_be_bytes());
}

pub(super) fn is_truncated(answer: &[u8]) -> bool {
    answer[2] & 0x02 != 0
}

pub(super) fn rcode(answer: &[u8]) -> Rcode {
    match answer[3] & 0x0f {
        2 | 4 | 5 => Rcode::ServerTrouble,
        _ => Rcode::Final,
    }
}

/// Addresses of the asked type: those of the name itself and those at the end of its aliases, which a recursive
/// server puts into the same answer. A broken answer is a failure.
pub(super) fn addresses(answer: &[u8], record_type: RecordType) -> Addresses {
    match answer.get(3).map(|flags| flags & 0x0f) {
        Some(0) => read_addresses(answer, record_type).map_or(Addresses::Failed, Addresses::Found),
        Some(3) => Addresses::NoSuchName,
        _ => Addresses::Failed,
    }
}

fn read_addresses(answer: &[u8], record_type: RecordType) -> Option<Vec<IpAddr>> {
    let (questions, records) = (u16_at(answer, 4)?, u16_at(answer, 6)?);
    let mut at = HEADER;
    let mut owner = Vec::new();
    for _ in 0..questions {
        owner = name(answer, at)?;
        at = skip_name(answer, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..records {
        let of = name(answer, at)?;
        at = skip_name(answer, at)?;
        let (kind, class) = (u16_at(answer, at)?, u16_at(answer, at + 2)?);
        let length = usize::from(u16_at(answer, at + 8)?);
        let data = answer.get(at + 10..at + 10 + length)?;
        if class == CLASS_IN && of.eq_ignore_ascii_case(&owner) {
            if kind == TYPE_CNAME {
                owner = name(answer, at + 10)?;
            } else if kind == record_type as u16 {
                found.push(match record_type {
                    RecordType::A => IpAddr::from(<[u8; 4]>::try_from(data).ok()?),
                    RecordType::Aaaa => IpAddr::from(<[u8; 16]>::try_from(data).ok()?),
                });
            }
        }
        at += 10 + length;
    }
    Some(found)
}

fn is_answer(message: &[u8]) -> bool {
    message[2] & 0x80 != 0
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// End of a name without pointers, as a question's has to be.
fn skip_plain_name(message: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let length = usize::from(*message.get(at)?);
        if length > MAX_LABEL {
            return None;
        }
        at += 1 + length;
        if at - start > MAX_NAME {
            return None;
        }
        if length == 0 {
            return Some(at);
        }
    }
}

/// End of a name where it stands.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *message.get(at)?;
        match length & POINTER {
            POINTER => return Some(at + 2),
            0 if length == 0 => return Some(at + 1),
            0 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

/// A name in wire form without pointers. Each pointer has to lead further back, so it ends.
fn name(message: &[u8], mut at: usize) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut before = at;
    loop {
        let length = *message.get(at)?;
        match length & POINTER {
            POINTER => {
                at = usize::from(u16_at(message, at)? & 0x3fff);
                if at >= before {
                    return None;
                }
                before = at;
            }
            0 => {
                let label = message.get(at..=at + usize::from(length))?;
                name.extend_from_slice(label);
                if length == 0 {
                    return Some(name);
                }
                if name.len() > MAX_NAME {
                    return None;
                }
                at += label.len();
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer_to(query: &Query, flags: [u8; 2], records: &[&[u8]]) -> Vec<u8> {
        let mut answer = query.bytes().to_vec();
        answer[2..4].copy_from_slice(&flags);
        answer[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        records.iter().for_each(|record| answer.extend_from_slice(record));
        answer
    }

    #[test]
    fn a_query_is_built_and_read_back() {
        let query = Query::new("web.default", RecordType::Aaaa).unwrap();
        assert_eq!(Query::parse(query.bytes()).as_ref(), Some(&query));
        assert_eq!(
            &query.bytes()[HEADER..],
            b"\x03web\x07default\x00\x00\x1c\x00\x01"
        );
        assert_eq!(Query::new("web.default.", RecordType::Aaaa), Some(query));
        for bad in ["", ".", "a..b", &"x".repeat(64), &"abc.".repeat(70)] {
            assert_eq!(Query::new(bad, RecordType::A), None, "{bad}");
        }
    }

    #[test]
    fn only_an_answer_to_the_same_question_with_the_same_id_counts() {
        let mut query = Query::new("web.default", RecordType::A).unwrap();
        assert_eq!(query.replace_id(7), 0);
        let good = answer_to(&query, [0x81, 0x80], &[]);
        assert!(query.is_answered_by(&good));
        let mut shouted = good.clone();
        shouted[HEADER + 1..HEADER + 4].copy_from_slice(b"WEB");
        assert!(query.is_answered_by(&shouted));

        let mut other_id = good.clone();
        set_id(&mut other_id, 8);
        let other = answer_to(
            &Query::new("api.default", RecordType::A).unwrap(),
            [0x81, 0x80],
            &[],
        );
        let mut no_question = good[..HEADER].to_vec();
        no_question[5] = 0;
        for bad in [
            &other_id,
            &other,
            &good[..5].to_vec(),
            &no_question,
            &query.bytes().to_vec(),
        ] {
            assert!(!query.is_answered_by(bad), "{bad:?}");
        }
        no_question[3] |= 1;
        assert!(
            query.is_answered_by(&no_question),
            "FORMERR may come without the question"
        );
    }

    #[test]
    fn addresses_at_the_end_of_an_alias_are_found() {
        let query = Query::new("db.default", RecordType::A).unwrap();
        let target = (query.question_end + 12) as u8;
        let alias = [
            b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x1e\x00\x04\x02db".as_slice(),
            b"\x00",
        ]
        .concat();
        let address = [
            &[0xc0, target],
            b"\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04\x0a\x60\x0a\x01".as_slice(),
        ]
        .concat();
        let stranger = b"\x01x\x00\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04\x01\x02\x03\x04";
        let answer = answer_to(&query, [0x81, 0x80], &[&alias, stranger, &address]);
        assert_eq!(
            addresses(&answer, RecordType::A),
            Addresses::Found(vec!["10.96.10.1".parse().unwrap()])
        );
        assert_eq!(addresses(&answer, RecordType::Aaaa), Addresses::Found(vec![]));
    }

    #[test]
    fn a_missing_name_and_a_failed_lookup_stay_apart() {
        let query = Query::new("missing", RecordType::A).unwrap();
        let code = |rcode: u8| addresses(&answer_to(&query, [0x81, 0x80 | rcode], &[]), RecordType::A);
        assert_eq!(code(3), Addresses::NoSuchName);
        assert_eq!(code(2), Addresses::Failed);
        assert_eq!(code(5), Addresses::Failed);
        assert_eq!(code(0), Addresses::Found(vec![]));
        assert_eq!(addresses(b"", RecordType::A), Addresses::Failed);
    }

    #[test]
    fn a_name_that_points_at_itself_is_broken() {
        let query = Query::new("web", RecordType::A).unwrap();
        let at = query.question_end as u8;
        let answer = answer_to(&query, [0x81, 0x80], &[&[0xc0, at, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]]);
        assert_eq!(addresses(&answer, RecordType::A), Addresses::Failed);
    }

    proptest! {
        #[test]
        fn any_message_is_read_without_a_panic(message in prop::collection::vec(any::<u8>(), 0..200)) {
            addresses(&message, RecordType::Aaaa);
            if let Some(query) = Query::parse(&message) {
                query.is_answered_by(&message);
            }
        }

        #[test]
        fn any_records_behind_a_good_header_are_read_without_a_panic(
            records in prop::collection::vec(any::<u8>(), 0..200), count in any::<u16>(),
        ) {
            let query = Query::new("web.default", RecordType::A).unwrap();
            let mut answer = answer_to(&query, [0x81, 0x80], &[&records]);
            answer[6..8].copy_from_slice(&count.to_be_bytes());
            addresses(&answer, RecordType::A);
        }
    }
}
