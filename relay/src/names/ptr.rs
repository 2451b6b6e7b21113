//! Questions for the names of an address, and their answers: PTR records (RFC 1035, 3.5).

use super::host_name::{is_host_byte, is_host_name};
use super::records;
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use kinject_dns::message::{self, Code};
use kinject_protocol::NameFailure;
use std::net::IpAddr;

/// The question for an address's names.
pub(super) fn question(address: IpAddr) -> Option<Vec<u8>> {
    records::question(Name::from(address), RecordType::PTR)
}

/// The names in an answer; those that are not valid host names are skipped, as in libc.
pub(super) fn names(answer: &[u8]) -> Result<Vec<String>, NameFailure> {
    match message::code(answer) {
        Code::NoError => {}
        Code::NxDomain => return Err(NameFailure::NotFound),
        Code::ServFail | Code::Other => return Err(NameFailure::TryAgain),
        Code::FormErr => return Err(NameFailure::NoRecovery),
    }
    let message = Message::from_vec(answer).map_err(|_| NameFailure::NoRecovery)?;
    let Some(query) = message.queries.first() else {
        return Err(NameFailure::NoRecovery);
    };
    let host = |record: &Record| match &record.data {
        RData::PTR(target) => Some(target.0.to_ascii().trim_end_matches('.').to_owned())
            .filter(|name| is_host_name(name) && name.bytes().all(is_host_byte)),
        _ => None,
    };
    // networks smaller than a /24 are delegated by aliases (RFC 2317)
    let found = records::at_end_of_chain(&message, query.name(), host);
    found.map(|(_, names)| names).ok_or(NameFailure::NoData)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::MessageType;
    use hickory_proto::rr::rdata;
    use kinject_dns::message::Query;
    use proptest::prelude::*;

    fn answer(records: &[(&str, RData)]) -> Vec<u8> {
        let mut message = Message::from_vec(&question("10.0.0.1".parse().unwrap()).unwrap()).unwrap();
        message.metadata.message_type = MessageType::Response;
        for (owner, data) in records {
            let owner = Name::from_ascii(owner).unwrap();
            message.add_answer(Record::from_rdata(owner, 5, data.clone()));
        }
        message.to_vec().unwrap()
    }

    fn ptr(target: &str) -> RData {
        RData::PTR(rdata::PTR(Name::from_ascii(target).unwrap()))
    }

    const OWNER: &str = "1.0.0.10.in-addr.arpa.";

    #[test]
    fn all_ptr_names_are_returned_in_order() {
        let answer = answer(&[(OWNER, ptr("web.test.")), (OWNER, ptr("alias.test."))]);
        assert_eq!(names(&answer), Ok(vec!["web.test".into(), "alias.test".into()]));
    }

    #[test]
    fn ptr_name_is_read_at_the_end_of_a_cname_chain() {
        let alias = "1.0-7.0.0.10.in-addr.arpa.";
        let to = RData::CNAME(rdata::CNAME(Name::from_ascii(alias).unwrap()));
        assert_eq!(
            names(&answer(&[(OWNER, to.clone()), (alias, ptr("web.test."))])),
            Ok(vec!["web.test".into()])
        );
        let back = RData::CNAME(rdata::CNAME(Name::from_ascii(OWNER).unwrap()));
        assert_eq!(
            names(&answer(&[(OWNER, to), (alias, back)])),
            Err(NameFailure::NoData)
        );
    }

    #[test]
    fn ptr_name_that_is_no_host_name_is_skipped() {
        let mut odd = Name::from_labels(vec![b"bad\nname".as_slice(), b"test"]).unwrap();
        odd.set_fqdn(true);
        assert_eq!(
            names(&answer(&[(OWNER, RData::PTR(rdata::PTR(odd)))])),
            Err(NameFailure::NoData)
        );
    }

    #[test]
    fn ptr_question_names_the_reversed_address() {
        let question = question("2001:db8::1".parse().unwrap()).unwrap();
        let query = Query::parse(&question).unwrap();
        assert_eq!(query.reversed_address(), Some("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn ptr_name_that_points_at_itself_returns_no_recovery() {
        let mut looped = answer(&[(OWNER, ptr("web.test."))]);
        // the target, at the end of the message, becomes a pointer to itself
        let target = looped.len() - "web.test".len() - 2;
        let [high, low] = (target as u16).to_be_bytes();
        looped[target..target + 2].copy_from_slice(&[0xc0 | high, low]);
        assert_eq!(names(&looped), Err(NameFailure::NoRecovery));
    }

    proptest! {
        #[test]
        fn any_ptr_answer_is_read_without_a_panic(at in 0..80_usize, bytes in prop::collection::vec(any::<u8>(), 1..40)) {
            let mut message = answer(&[(OWNER, ptr("web.test.")), (OWNER, ptr("alias.test."))]);
            for (old, byte) in message.iter_mut().skip(at).zip(bytes) {
                *old = byte;
            }
            let found = names(&message).unwrap_or_default();
            prop_assert!(found.iter().all(|name| name.bytes().all(is_host_byte)));
        }
    }
}
