//! As much of DNS messages (RFC 1035) as forwarding needs.

const HEADER: usize = 12;
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;

/// What an answer's code means for the choice of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rcode {
    /// The server could not or would not: SERVFAIL, NOTIMP, REFUSED.
    ServerTrouble,
    /// This is the answer: NOERROR, NXDOMAIN and the rest.
    Final,
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The question for the addresses of `web.default`.
    const WEB: &[u8] =
        b"\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x07default\x00\x00\x01\x00\x01";

    fn answer_to(query: &Query) -> Vec<u8> {
        let mut answer = query.bytes().to_vec();
        answer[2..4].copy_from_slice(&[0x81, 0x80]);
        answer
    }

    #[test]
    fn only_an_answer_to_the_same_question_with_the_same_id_counts() {
        let mut query = Query::parse(WEB).unwrap();
        assert_eq!(query.replace_id(7), 0);
        let good = answer_to(&query);
        assert!(query.is_answered_by(&good));
        let mut shouted = good.clone();
        shouted[HEADER + 1..HEADER + 4].copy_from_slice(b"WEB");
        assert!(query.is_answered_by(&shouted));

        let mut other_id = good.clone();
        set_id(&mut other_id, 8);
        let mut other = good.clone();
        other[HEADER + 1..HEADER + 4].copy_from_slice(b"api");
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
    fn a_question_whose_name_is_broken_is_no_query() {
        assert!(Query::parse(WEB).is_some());
        for length in 0..WEB.len() {
            assert_eq!(Query::parse(&WEB[..length]), None, "{length}");
        }
        let mut pointer = WEB.to_vec();
        pointer[HEADER] = 0xc0;
        assert_eq!(Query::parse(&pointer), None);
        let endless = [&WEB[..HEADER], &b"\x01x".repeat(200), b"\x00\x00\x01\x00\x01"].concat();
        assert_eq!(Query::parse(&endless), None);
    }

    proptest! {
        #[test]
        fn any_message_is_read_without_a_panic(message in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(query) = Query::parse(&message) {
                query.is_answered_by(&message);
            }
        }
    }
}
