//! Questions for addresses to the cluster's DNS (carried by RFC 8484), and their answers.

use super::records;
use bytes::Bytes;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::IpAddr;
use std::time::Duration;

/// How long an answer without a TTL is cached.
const DEFAULT_TTL: Duration = Duration::from_secs(1);

/// The longest time that an answer is cached: a developer's cluster changes.
pub(super) const MAX_TTL: Duration = Duration::from_secs(60);

/// The longest time that a negative answer is cached: the service may be about to be deployed.
pub(super) const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(3);

/// The DNS' answer for one name and one record type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The outcome.
    pub(crate) outcome: Outcome,
    /// How long it may be cached.
    pub(crate) ttl: Duration,
}

/// How a question ends (res_query in resolver(3)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There are records of this type.
    Found {
        /// The end of the chain of CNAMEs.
        canonical: String,
        /// The addresses, in the order of the answer.
        addresses: Vec<IpAddr>,
    },
    /// The name exists, records of this type do not.
    NoData,
    /// The name does not exist (NXDOMAIN).
    NotFound,
    /// The server failed (SERVFAIL): another name may still be answered.
    ServerFailed,
    /// No answer came.
    NoAnswer,
    /// The server refused the question or could not parse it.
    Refused,
}

impl Answer {
    /// An answer that is not cached.
    pub(crate) fn uncached(outcome: Outcome) -> Self {
        Self {
            outcome,
            ttl: Duration::ZERO,
        }
    }
}

/// Writes the question for addresses of one family; `None` if the name is not a DNS name.
pub(crate) fn question(name: &str, record: RecordType) -> Option<Bytes> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    records::question(name, record).map(Bytes::from)
}

/// Reads an answer.
pub(crate) fn answer(message: &[u8], record: RecordType) -> Answer {
    let Ok(message) = Message::from_vec(message) else {
        return Answer::uncached(Outcome::Refused);
    };
    let outcome = match message.metadata.response_code {
        ResponseCode::NoError => found(&message, record),
        ResponseCode::NXDomain => Outcome::NotFound,
        ResponseCode::ServFail => Outcome::ServerFailed,
        _ => Outcome::Refused,
    };
    let ttl = match &outcome {
        Outcome::Found { .. } => positive_ttl(&message).min(MAX_TTL),
        Outcome::NoData | Outcome::NotFound => negative_ttl(&message).min(MAX_NEGATIVE_TTL),
        Outcome::ServerFailed | Outcome::NoAnswer | Outcome::Refused => Duration::ZERO,
    };
    Answer { outcome, ttl }
}

/// Follows the chain of CNAMEs from the question's name and collects the addresses at its end.
fn found(message: &Message, record: RecordType) -> Outcome {
    let Some(query) = message.queries.first() else {
        return Outcome::Refused;
    };
    let address = |answer: &Record| match &answer.data {
        RData::A(address) if record == RecordType::A => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) if record == RecordType::AAAA => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    match records::at_end_of_chain(message, query.name(), address) {
        Some((name, addresses)) => Outcome::Found {
            canonical: name.to_ascii().trim_end_matches('.').to_owned(),
            addresses,
        },
        None => Outcome::NoData,
    }
}

fn positive_ttl(message: &Message) -> Duration {
    let ttl = message.answers.iter().map(|answer| answer.ttl).min();
    ttl.map_or(DEFAULT_TTL, |ttl| Duration::from_secs(ttl.into()))
}

/// RFC 2308, 5: the lesser of the SOA record's own TTL and its MINIMUM field.
fn negative_ttl(message: &Message) -> Duration {
    let soa = message.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    soa.map_or(DEFAULT_TTL, |ttl| Duration::from_secs(ttl.into()))
}

/// Addresses of the name `web`.
#[cfg(test)]
pub(crate) fn found_for_tests(addresses: &[&str]) -> Outcome {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Outcome::Found {
        canonical: "web".into(),
        addresses,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{MessageType, OpCode, Query};
    use hickory_proto::rr::rdata;

    fn reply(records: &[(&str, u32, RData)], code: ResponseCode) -> Vec<u8> {
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        message.metadata.response_code = code;
        message.add_query(Query::query(
            Name::from_ascii("web.test.").unwrap(),
            RecordType::A,
        ));
        for (name, ttl, data) in records {
            message.add_answer(Record::from_rdata(
                Name::from_ascii(name).unwrap(),
                *ttl,
                data.clone(),
            ));
        }
        message.to_vec().unwrap()
    }

    fn cname(target: &str) -> RData {
        RData::CNAME(rdata::CNAME(Name::from_ascii(target).unwrap()))
    }

    #[test]
    fn a_question_has_identifier_zero_and_asks_for_recursion() {
        let bytes = question("web.test", RecordType::A).unwrap();
        let message = Message::from_vec(&bytes).unwrap();
        assert_eq!(
            (message.metadata.id, message.metadata.recursion_desired),
            (0, true)
        );
        assert_eq!(message.queries[0].name().to_ascii(), "web.test.");
        assert_eq!(question(&"a".repeat(64), RecordType::A), None);
        assert_eq!(question(&"a.".repeat(150), RecordType::A), None);
    }

    #[test]
    fn cname_chain_is_followed_to_its_addresses() {
        let address = RData::A(rdata::A::new(10, 0, 0, 1));
        let records = [
            ("web.test.", 30, cname("a.test.")),
            ("a.test.", 7, cname("b.test.")),
            ("b.test.", 9, address),
        ];
        let answer = answer(&reply(&records, ResponseCode::NoError), RecordType::A);
        let addresses = vec!["10.0.0.1".parse().unwrap()];
        assert_eq!(
            answer.outcome,
            Outcome::Found {
                canonical: "b.test".into(),
                addresses
            }
        );
        assert_eq!(answer.ttl, Duration::from_secs(7));
    }

    #[test]
    fn cname_loop_returns_no_data() {
        let records = [
            ("web.test.", 30, cname("a.test.")),
            ("a.test.", 30, cname("web.test.")),
        ];
        assert_eq!(
            answer(&reply(&records, ResponseCode::NoError), RecordType::A).outcome,
            Outcome::NoData
        );
    }

    #[test]
    fn response_codes_map_to_their_outcomes() {
        let outcome = |code| answer(&reply(&[], code), RecordType::A).outcome;
        assert_eq!(outcome(ResponseCode::NoError), Outcome::NoData);
        assert_eq!(outcome(ResponseCode::NXDomain), Outcome::NotFound);
        assert_eq!(outcome(ResponseCode::ServFail), Outcome::ServerFailed);
        assert_eq!(outcome(ResponseCode::Refused), Outcome::Refused);
        assert_eq!(answer(b"nonsense", RecordType::A).outcome, Outcome::Refused);
    }
}
