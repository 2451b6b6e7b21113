//! Valid and malformed messages.

use super::*;
use proptest::prelude::*;

fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(domain(name).unwrap());
    message.extend(kind.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    message
}

/// Adds an OPT record for datagrams of this size.
fn with_opt(mut message: Vec<u8>, size: u16) -> Vec<u8> {
    message[11] += 1;
    message.extend([0, 0, 41]);
    message.extend(size.to_be_bytes());
    message.extend([0, 0, 0x80, 0, 0, 0]);
    message
}

/// Answers with records whose owner is the question's name.
fn answer(question: &[u8], records: &[(u16, u32, &[u8])]) -> Vec<u8> {
    let mut message = question.to_vec();
    message[2] |= 0x80;
    message[7] = records.len() as u8;
    for (kind, ttl, data) in records {
        message.extend([0xc0, 0x0c]);
        message.extend(kind.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        message.extend(ttl.to_be_bytes());
        message.extend((data.len() as u16).to_be_bytes());
        message.extend(*data);
    }
    message
}

#[test]
fn parse_separates_queries_from_noise_and_malformed_messages() {
    let good = question("web.test", 33);
    let query = Query::parse(&good).unwrap();
    assert_eq!((query.name().as_str(), query.id()), ("web.test", 0x1234));
    assert_eq!(Query::parse(&good[..11]), Err(Fault::Unanswerable));
    assert_eq!(Query::parse(&answer(&good, &[])), Err(Fault::Unanswerable));
    assert_eq!(Query::parse(&good[..good.len() - 1]), Err(Fault::Malformed));
    let mut two = good.clone();
    two[5] = 2;
    assert_eq!(Query::parse(&two), Err(Fault::Malformed));
    let mut pointing = good.clone();
    pointing[12] = 0xc0;
    assert_eq!(Query::parse(&pointing), Err(Fault::Malformed));
}

#[test]
fn a_refusal_repeats_the_question() {
    let question = with_opt(question("web.test", 1), 1232);
    let refused = refusal(&question, Code::ServFail);
    assert_eq!(code(&refused), Code::ServFail);
    assert_eq!(&refused[..2], &question[..2]);
    let query = Query::parse(&question).unwrap();
    assert!(query.is_answered_by(0x1234, &refused));
    let mut broken = question;
    broken[12] = 0xc0;
    assert_eq!(refusal(&broken, Code::FormErr).len(), HEADER);
}

#[test]
fn answer_with_another_id_or_question_is_rejected() {
    let question_bytes = question("web.test", 1);
    let query = Query::parse(&question_bytes).unwrap();
    assert!(query.is_answered_by(0x1234, &answer(&question("WEB.test", 1), &[])));
    assert!(!query.is_answered_by(0x1235, &answer(&question_bytes, &[])));
    assert!(!query.is_answered_by(0x1234, &answer(&question("api.test", 1), &[])));
    assert!(!query.is_answered_by(0x1234, &question_bytes));
}

/// The question for the addresses of `web.default`.
const WEB: &[u8] = b"\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x07default\x00\x00\x01\x00\x01";

#[test]
fn outgoing_query_accepts_only_its_own_id_and_question() {
    let query = Query::parse(WEB).unwrap();
    assert_eq!(query.id(), 0);
    let query = query.outgoing(7);
    let mut good = query.bytes().to_vec();
    good[2..4].copy_from_slice(&[0x81, 0x80]);
    assert!(query.is_answered_by(&good));
    let mut other_case = good.clone();
    other_case[HEADER + 1..HEADER + 4].copy_from_slice(b"WEB");
    assert!(query.is_answered_by(&other_case));

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
    query.restore_id(&mut good);
    assert_eq!(&good[..2], &WEB[..2]);
}

#[test]
fn question_with_a_malformed_name_is_rejected() {
    assert!(Query::parse(WEB).is_ok());
    for length in 0..WEB.len() {
        assert!(Query::parse(&WEB[..length]).is_err(), "{length}");
    }
    let mut pointer = WEB.to_vec();
    pointer[HEADER] = 0xc0;
    assert!(Query::parse(&pointer).is_err());
    let endless = [&WEB[..HEADER], &b"\x01x".repeat(200), b"\x00\x00\x01\x00\x01"].concat();
    assert!(Query::parse(&endless).is_err());
}

#[test]
fn servfail_notimp_and_refused_go_to_the_next_server() {
    let codes = (0..16).filter(|code| is_for_next_server(&[0, 0, 0x80, 0x80 | code]));
    assert_eq!(codes.collect::<Vec<_>>(), [2, 4, 5]);
    assert!(!is_for_next_server(&[0, 0, 0x80]));
}

#[test]
fn forwarded_message_changes_only_in_its_id_and_ttls() {
    // an unknown record type, a name with a compression pointer, an unknown EDNS option
    let question = question("web.test", 65_280);
    let mut original = answer(
        &question,
        &[(65_280, 30, b"\x00\xff anything"), (5, 40, &[0xc0, 0x10])],
    );
    original[11] += 1;
    original.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 6, 0xff, 0xfe, 0, 2, 1, 2]);
    let query = Query::parse(&question).unwrap().outgoing(7);
    let mut forwarded = original.clone();
    set_id(&mut forwarded, 7);
    assert!(query.is_answered_by(&forwarded));
    age(&mut forwarded, Duration::from_secs(1));
    query.restore_id(&mut forwarded);
    let changed: Vec<_> = (0..original.len())
        .filter(|at| forwarded[*at] != original[*at])
        .collect();
    let ttls = [
        records(&original).unwrap()[0].data.start - 3,
        records(&original).unwrap()[1].data.start - 3,
    ];
    assert_eq!((changed, forwarded.len()), (ttls.to_vec(), original.len()));
}

#[test]
fn answer_with_an_unparsable_record_is_still_forwarded() {
    // the A record of three bytes is invalid, the other one is valid
    let question = question("web.test", 1);
    let answer = answer(&question, &[(1, 30, &[10, 0, 0]), (1, 30, &[10, 0, 0, 2])]);
    assert!(hickory_proto::op::Message::from_vec(&answer).is_err());
    assert!(Query::parse(&question).unwrap().is_answered_by(0x1234, &answer));
    assert_eq!(addresses(&answer), ["10.0.0.2".parse::<IpAddr>().unwrap()]);
    assert_eq!(ttl(&answer), Some(Duration::from_secs(30)));
    assert_eq!(truncate(&question, answer.clone()), answer);
}

#[test]
fn answer_too_long_for_udp_is_truncated_to_its_question() {
    let plain = question("web.test", 16);
    let text = [200; 201];
    let long = with_opt(answer(&plain, &[(16, 30, &text[..]); 5]), 1232);
    let short = truncate(&plain, long.clone());
    assert!(is_truncated(&short) && !has_answers(&short));
    assert_eq!(records(&short).unwrap().len(), 1, "the OPT record is kept");
    assert!(short.len() <= 512);
    let large = with_opt(plain, 4096);
    assert_eq!(truncate(&large, long.clone()), long);
}

#[test]
fn answer_ttl_is_its_records_least_and_decreases_with_age() {
    let question = question("web.test", 1);
    let mut message = with_opt(
        answer(&question, &[(1, 30, &[10, 0, 0, 1]), (1, 7, &[10, 0, 0, 2])]),
        1232,
    );
    assert_eq!(ttl(&message), Some(Duration::from_secs(7)));
    assert_eq!(addresses(&message).len(), 2);
    age(&mut message, Duration::from_millis(5_900));
    assert_eq!(ttl(&message), Some(Duration::from_secs(2)));
    age(&mut message, Duration::from_secs(100));
    assert_eq!(ttl(&message), Some(Duration::ZERO));
    let opt = records(&message).unwrap().pop().unwrap();
    assert_eq!(opt.ttl, 0x8000, "the flags of EDNS are no time");
}

#[test]
fn nxdomain_ttl_is_taken_from_the_soa_record() {
    let mut soa = vec![0, 0];
    soa.extend([0; 16]);
    soa.extend(9_u32.to_be_bytes());
    let mut nxdomain = answer(&question("web.test", 1), &[(TYPE_SOA, 30, &soa)]);
    nxdomain[3] |= 3;
    nxdomain.swap(7, 9);
    assert_eq!(code(&nxdomain), Code::NxDomain);
    assert_eq!(ttl(&nxdomain), Some(Duration::from_secs(9)));
    nxdomain[9] = 0;
    nxdomain.truncate(question("web.test", 1).len());
    assert_eq!(ttl(&nxdomain), None);
}

#[test]
fn record_count_beyond_the_message_yields_no_records() {
    let mut message = answer(&question("web.test", 1), &[(1, 30, &[10, 0, 0, 1])]);
    message[6..8].copy_from_slice(&u16::MAX.to_be_bytes());
    assert_eq!(ttl(&message), None);
    assert_eq!(addresses(&message), Vec::<IpAddr>::new());
    let mut long = answer(&question("web.test", 1), &[(1, 30, &[10, 0, 0, 1])]);
    let length = long.len() - 5;
    long[length] = 200;
    assert_eq!(addresses(&long), Vec::<IpAddr>::new());
}

#[test]
fn ptr_query_name_yields_its_address() {
    let of = |name: &str| {
        Query::parse(&question(name, TYPE_PTR))
            .unwrap()
            .reversed_address()
    };
    assert_eq!(of("10.0.96.10.in-addr.arpa"), Some("10.96.0.10".parse().unwrap()));
    let v6 = format!("1.{}8.b.d.0.1.0.0.2.IP6.arpa", "0.".repeat(23));
    assert_eq!(of(&v6), Some("2001:db8::1".parse().unwrap()));
    for odd in [
        "in-addr.arpa",
        "10.in-addr.arpa",
        "x.0.96.10.in-addr.arpa",
        "1.ip6.arpa",
        "web.test",
    ] {
        assert_eq!(of(odd), None, "{odd}");
    }
}

#[test]
fn search_domain_with_an_illegal_length_is_rejected() {
    assert_eq!(domain("a.bc"), Some(b"\x01a\x02bc\0".to_vec()));
    assert_eq!(domain(""), Some(vec![0]));
    assert_eq!(domain("a..b"), None);
    assert_eq!(domain(&"x".repeat(64)), None);
    assert_eq!(domain(&["abc"; 64].join(".")), None);
}

/// The message as hickory-proto parses it.
fn by_library(message: &[u8]) -> hickory_proto::op::Message {
    hickory_proto::op::Message::from_vec(message).unwrap()
}

proptest! {
    #[test]
    fn hickory_proto_reads_the_same_values_from_a_message(
        labels in prop::collection::vec("[a-zA-Z0-9_-]{1,63}", 1..4), id: u16, size: u16,
        found in prop::collection::vec((any::<u32>(), prop_oneof![
            any::<[u8; 4]>().prop_map(|v4| (TYPE_A, v4.to_vec())),
            any::<[u8; 16]>().prop_map(|v6| (TYPE_AAAA, v6.to_vec())),
            Just((5, vec![0xc0, 0x0c])),
        ]), 0..20),
    ) {
        let mut asked = with_opt(question(&labels.join("."), TYPE_A), size);
        set_id(&mut asked, id);
        let query = Query::parse(&asked).unwrap();
        let library = by_library(&asked);
        prop_assert_eq!(query.id(), library.metadata.id);
        prop_assert!(query.labels().eq(library.queries[0].name().iter()));
        prop_assert_eq!(limit(&asked), usize::from(library.edns.as_ref().unwrap().max_payload().max(512)));

        let bare = question(&labels.join("."), TYPE_A);
        let found: Vec<_> = found.iter().map(|(ttl, (kind, data))| (*kind, *ttl, data.as_slice())).collect();
        let whole = answer(&bare, &found);
        let library = by_library(&whole);
        let least = library.answers.iter().map(|record| u64::from(record.ttl)).min();
        prop_assert_eq!(ttl(&whole).map(|ttl| ttl.as_secs()), least);
        let in_library: Vec<_> = library.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
        prop_assert_eq!(addresses(&whole), in_library);
        let short = by_library(&truncate(&bare, whole.clone()));
        let is_short = whole.len() > 512;
        prop_assert_eq!((short.metadata.truncation, short.answers.is_empty()), (is_short, is_short || found.is_empty()));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(mut message in prop::collection::vec(any::<u8>(), 0..300)) {
        code(&message);
        ttl(&message);
        addresses(&message);
        age(&mut message, Duration::from_secs(5));
        if message.len() >= HEADER {
            refusal(&message, Code::FormErr);
        }
        if let Ok(query) = Query::parse(&message) {
            query.name();
            query.reversed_address();
            query.is_common();
            query.is_answered_by(0, &message);
            truncate(&message, message.clone());
        }
    }

    #[test]
    fn any_records_behind_a_good_question_are_read_without_a_panic(
        tail in prop::collection::vec(any::<u8>(), 0..900), counts in any::<[u8; 6]>(), flags in any::<u8>(),
    ) {
        let good = question("web.test", 1);
        let mut message = [good.as_slice(), &tail].concat();
        message[2] = 0x80;
        message[3] = flags;
        message[6..12].copy_from_slice(&counts);
        ttl(&message);
        addresses(&message);
        age(&mut message, Duration::from_secs(5));
        prop_assert!(truncate(&good, message).len() <= 512);
    }
}
