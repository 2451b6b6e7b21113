//! Every message, there and back, whole and broken.

use super::*;
use crate::failure::{ConnectFailure, NameFailure};
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};

fn requests() -> Vec<Request<'static>> {
    vec![
        Request::Connect {
            target: "10.96.10.1:80".parse().unwrap(),
        },
        Request::Connect {
            target: SocketAddrV6::new("fe80::1".parse().unwrap(), 443, 0, 7).into(),
        },
        Request::Peer { cookie: u64::MAX },
        Request::Failure { cookie: 1 },
        Request::Resolve {
            family: Family::Any,
            purpose: Purpose::AddressInfo,
            name: b"web",
        },
        Request::Resolve {
            family: Family::V6,
            purpose: Purpose::HostEntry,
            name: &[b'a'; MAX_NAME],
        },
    ]
}

fn replies() -> Vec<Reply> {
    let mut replies = vec![
        Reply::Connected,
        Reply::InProgress,
        Reply::Local,
        Reply::Peer("[2001:db8::1]:53".parse().unwrap()),
        Reply::Unknown,
        Reply::Addresses {
            canonical: b"web.default.svc.cluster.local".to_vec(),
            addresses: vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        },
    ];
    replies.extend(ConnectFailure::ALL.map(Reply::Failed));
    replies.extend(NameFailure::ALL.map(Reply::NameFailed));
    replies
}

#[test]
fn every_request_survives_the_way_there() {
    for request in requests() {
        assert_eq!(Request::decode(request.encode().as_bytes()), Ok(request));
    }
}

#[test]
fn every_reply_survives_the_way_back() {
    let mut buffer = Vec::new();
    for reply in replies() {
        reply.encode(&mut buffer);
        assert!(buffer.len() <= MAX_REPLY);
        assert_eq!(Reply::decode(&buffer), Ok(reply));
    }
}

#[test]
fn a_full_reply_fits_its_limit() {
    let mut buffer = Vec::new();
    let addresses = vec![IpAddr::V6(Ipv6Addr::LOCALHOST); MAX_ADDRESSES + 1];
    Reply::Addresses {
        canonical: vec![b'a'; MAX_NAME + 1],
        addresses,
    }
    .encode(&mut buffer);
    assert!(buffer.len() <= MAX_REPLY);
    assert!(Reply::decode(&buffer).is_ok());
}

#[test]
fn a_message_cut_short_is_refused_at_every_length() {
    for request in requests() {
        let encoded = request.encode();
        let whole = encoded.as_bytes();
        for length in 0..whole.len() {
            if let Ok(decoded) = Request::decode(&whole[..length]) {
                // a name has no length of its own: a shorter one is another valid request
                assert!(
                    matches!(decoded, Request::Resolve { .. }),
                    "{request:?} at {length}"
                );
            }
        }
    }
    let mut whole = Vec::new();
    for reply in replies() {
        reply.encode(&mut whole);
        for length in 0..whole.len() {
            assert!(Reply::decode(&whole[..length]).is_err(), "{reply:?} at {length}");
        }
    }
}

#[test]
fn garbage_is_refused_by_name() {
    assert_eq!(Request::decode(b""), Err(DecodeError::Truncated));
    assert_eq!(
        Request::decode(b"GET / HTTP/1.1"),
        Err(DecodeError::Version(b'G'))
    );
    assert_eq!(Request::decode(&[VERSION, 99]), Err(DecodeError::Value(99)));
    assert_eq!(
        Request::decode(&[VERSION, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Err(DecodeError::TrailingBytes)
    );
    assert_eq!(Reply::decode(&[VERSION, 4, 0]), Err(DecodeError::Value(0)));
    assert_eq!(Reply::decode(&[VERSION, 5, 9, 0, 0]), Err(DecodeError::Value(9)));
}
