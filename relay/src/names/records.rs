//! Records whose names matter, which hickory-proto reads and writes: questions of the relay's own, and their answers.
//!
//! An answer's names may point back into the message, in a circle too, and a chain of aliases leads from the question to
//! what was asked for. What only passes through is looked at as bytes ([`kinject_dns::message`]).

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// The question for the records of a name.
pub(super) fn question(name: Name, record: RecordType) -> Option<Vec<u8>> {
    // RFC 8484, 4.1: the identifier is 0 so that caches can work
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, record));
    message.to_vec().ok()
}

/// The name at the end of the chain of CNAMEs that begins at `name`, and what `read` takes from its records, if it takes
/// anything.
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
