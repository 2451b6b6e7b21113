//! Questions of the relay's own, and the records of their answers, which hickory-proto writes and parses.
//!
//! An answer's names may have compression pointers, also circular ones, and a chain of CNAMEs leads from the question
//! to the records. Messages that are only forwarded are read as bytes ([`kinject_dns::message`]).

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// The question for the records of a name.
pub(super) fn question(name: Name, record: RecordType) -> Option<Vec<u8>> {
    // RFC 8484, 4.1: identifier 0, so that answers can be cached
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, record));
    message.to_vec().ok()
}

/// The name at the end of the chain of CNAMEs that begins at `name`, and the values that `read` returns for its
/// records; none if it returns none.
pub(super) fn at_end_of_chain<'a, T>(
    message: &'a Message,
    mut name: &'a Name,
    read: impl Fn(&'a Record) -> Option<T>,
) -> Option<(&'a Name, Vec<T>)> {
    // each step uses another record, so that a loop ends
    for _ in 0..=message.answers.len() {
        let of_name = || message.answers.iter().filter(|record| record.name == *name);
        let found: Vec<T> = of_name().filter_map(&read).collect();
        if !found.is_empty() {
            return Some((name, found));
        }
        name = of_name().find_map(|record| match &record.data {
            RData::CNAME(target) => Some(&target.0),
            _ => None,
        })?;
    }
    None
}
