//! Round trips of every message, and decoding of truncated and malformed ones.

use super::*;
use crate::executable::InjectionBlocker;
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
        Request::OwnAddress { cookie: 9 },
        Request::Disconnect { cookie: 10 },
        Request::ShutDown { cookie: 11 },
        Request::Bind {
            address: "10.244.0.5:8080".parse().unwrap(),
        },
        Request::PodAddress {
            address: "[::ffff:127.105.1.2]:8080".parse().unwrap(),
        },
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
        Request::Resolve {
            family: Family::Mapped,
            purpose: Purpose::ConfiguredAddressInfo,
            name: b"web",
        },
        Request::Query {
            transport: DnsTransport::Datagram,
            search: None,
            message: &[7; 300],
        },
        Request::Query {
            transport: DnsTransport::Stream,
            search: Some(Search {
                default_names: true,
                domains: false,
                no_top_level: true,
            }),
            message: b"a message",
        },
        Request::Reverse {
            address: "10.96.10.1".parse().unwrap(),
        },
        Request::Reverse {
            address: "2001:db8::1".parse().unwrap(),
        },
        Request::Uninjectable {
            blocker: InjectionBlocker::Go,
            is_refused: true,
            program: b"/usr/bin/kubectl",
        },
        Request::Flow {
            target: "10.96.10.3:7000".parse().unwrap(),
            connect: true,
        },
        Request::Flow {
            target: "[2001:db8::1]:53".parse().unwrap(),
            connect: false,
        },
        Request::Source {
            cookie: 7,
            address: "127.107.1.2:9".parse().unwrap(),
        },
        Request::ResolvConf,
        Request::Fetch {
            part: FilePart::Content,
            path: b"/etc/config/app.yaml",
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
        Reply::Noted,
        Reply::File,
        Reply::Errno(2),
        Reply::Flow("127.107.1.2:9".parse().unwrap()),
        Reply::StandIn("127.106.1.2:8080".parse().unwrap()),
        Reply::Addresses {
            canonical: b"web.default.svc.cluster.local".to_vec(),
            addresses: vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        },
    ];
    replies.extend([
        Reply::Answer(vec![9; 300]),
        Reply::Answer(vec![9]),
        Reply::Names(vec![]),
        Reply::Names(vec![b"web.default.svc.cluster.local".to_vec(), b"alias".to_vec()]),
    ]);
    replies.extend(ConnectFailure::ALL.map(Reply::Failed));
    replies.extend(NameFailure::ALL.map(Reply::NameFailed));
    replies
}

#[test]
fn every_request_round_trips() {
    for request in requests() {
        assert_eq!(Request::decode(&request.encode().to_vec()), Ok(request));
    }
}

#[test]
fn every_reply_round_trips() {
    let mut buffer = Vec::new();
    for reply in replies() {
        reply.encode(&mut buffer);
        let limit = match reply {
            Reply::Answer(_) => MAX_ANSWER,
            _ => MAX_REPLY,
        };
        assert!(buffer.len() <= limit);
        assert_eq!(Reply::decode(&buffer), Ok(reply));
    }
}

#[test]
fn largest_reply_fits_its_limit() {
    let mut buffer = Vec::new();
    let addresses = vec![IpAddr::V6(Ipv6Addr::LOCALHOST); MAX_ADDRESSES + 1];
    Reply::Addresses {
        canonical: vec![b'a'; MAX_NAME + 1],
        addresses,
    }
    .encode(&mut buffer);
    assert!(buffer.len() <= MAX_REPLY);
    assert!(Reply::decode(&buffer).is_ok());
    Reply::Answer(vec![9; MAX_MESSAGE + 1]).encode(&mut buffer);
    assert_eq!(buffer.len(), MAX_ANSWER);
    assert!(Reply::decode(&buffer).is_ok());
    Reply::Names(vec![vec![b'a'; MAX_NAME + 1]; MAX_NAMES + 1]).encode(&mut buffer);
    assert!(buffer.len() <= MAX_REPLY);
    assert!(Reply::decode(&buffer).is_ok());
}

#[test]
fn largest_request_fits_its_limit() {
    let query = |message| Request::Query {
        transport: DnsTransport::Stream,
        search: None,
        message,
    };
    let encoded = query(&[7; MAX_MESSAGE + 1]).encode().to_vec();
    assert_eq!(encoded.len(), MAX_REQUEST);
    assert_eq!(Request::decode(&encoded), Ok(query(&[7; MAX_MESSAGE])));
}

#[test]
fn truncated_message_is_rejected_at_every_length() {
    for request in requests() {
        let whole = request.encode().to_vec();
        for length in 0..whole.len() {
            if let Ok(decoded) = Request::decode(&whole[..length]) {
                // a name, path or message has no length of its own: a shorter one is another valid request
                assert!(
                    matches!(
                        decoded,
                        Request::Resolve { .. }
                            | Request::Query { .. }
                            | Request::Uninjectable { .. }
                            | Request::Fetch { .. }
                    ),
                    "{request:?} at {length}"
                );
            }
        }
    }
    let mut whole = Vec::new();
    for reply in replies() {
        reply.encode(&mut whole);
        for length in 0..whole.len() {
            if let Ok(decoded) = Reply::decode(&whole[..length]) {
                assert!(matches!(decoded, Reply::Answer(_)), "{reply:?} at {length}");
            }
        }
    }
}

#[test]
fn malformed_message_is_rejected_with_a_specific_error() {
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
