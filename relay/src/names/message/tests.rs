//! Messages of every kind, and bytes that are none.

use super::*;
use proptest::prelude::*;

fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(domain(name).unwrap());
    message.extend(kind.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    message
}

/// An OPT record that takes datagrams of this size.
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
fn a_query_is_told_from_noise_and_from_what_cannot_be_read() {
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
fn only_an_answer_to_the_question_is_one() {
    let question_bytes = question("web.test", 1);
    let query = Query::parse(&question_bytes).unwrap();
    assert!(query.is_answered_by(0x1234, &answer(&question("WEB.test", 1), &[])));
    assert!(!query.is_answered_by(0x1235, &answer(&question_bytes, &[])));
    assert!(!query.is_answered_by(0x1234, &answer(&question("api.test", 1), &[])));
    assert!(!query.is_answered_by(0x1234, &question_bytes));
}

#[test]
fn an_answer_that_is_too_long_for_a_datagram_is_cut_to_its_question() {
    let plain = question("web.test", 16);
    let text = [200; 201];
    let long = with_opt(answer(&plain, &[(16, 30, &text[..]); 5]), 1232);
    let short = cut(&plain, long.clone());
    assert!(is_cut(&short) && !has_answers(&short));
    assert_eq!(
        records(&short).unwrap().len(),
        1,
        "what the server said of itself stays"
    );
    assert!(short.len() <= 512);
    let large = with_opt(plain, 4096);
    assert_eq!(cut(&large, long.clone()), long);
}

#[test]
fn an_answer_may_be_kept_for_its_least_ttl_and_grows_old() {
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
fn a_no_is_kept_for_as_long_as_its_zone_says() {
    let mut soa = vec![0, 0];
    soa.extend([0; 16]);
    soa.extend(9_u32.to_be_bytes());
    let mut no = answer(&question("web.test", 1), &[(TYPE_SOA, 30, &soa)]);
    no[3] |= 3;
    no.swap(7, 9);
    assert_eq!(code(&no), Code::NxDomain);
    assert_eq!(ttl(&no), Some(Duration::from_secs(9)));
    no[9] = 0;
    no.truncate(question("web.test", 1).len());
    assert_eq!(ttl(&no), None);
}

#[test]
fn a_count_that_lies_makes_no_records() {
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
fn an_address_is_read_from_its_reversed_name() {
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
fn a_search_list_gives_names_of_a_legal_length_only() {
    assert_eq!(domain("a.bc"), Some(b"\x01a\x02bc\0".to_vec()));
    assert_eq!(domain(""), Some(vec![0]));
    assert_eq!(domain("a..b"), None);
    assert_eq!(domain(&"x".repeat(64)), None);
    assert_eq!(domain(&["abc"; 64].join(".")), None);
}

proptest! {
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
            cut(&message, message.clone());
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
        prop_assert!(cut(&good, message).len() <= 512);
    }
}
