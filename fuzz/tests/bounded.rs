//! A bounded run of every check, with bytes that are near to valid ones.

#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

use kinject_protocol::control::{ControlAddress, DnsTransport, Family, FilePart, Purpose, Reply, Request};
use kinject_protocol::executable::{HEAD, InjectionBlocker};
use kinject_protocol::paths::PathTable;
use kinject_protocol::{ConnectFailure, NameFailure};
use proptest::collection::vec;
use proptest::prelude::*;

/// A mutation of a valid message.
#[derive(Clone, Debug)]
enum Mutation {
    Set(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
    Repeat(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let position = || any::<usize>();
    prop_oneof![
        4 => (position(), any::<u8>()).prop_map(|(position, byte)| Mutation::Set(position, byte)),
        1 => position().prop_map(Mutation::Cut),
        1 => (position(), vec(any::<u8>(), 0..64)).prop_map(|(position, bytes)| Mutation::Insert(position, bytes)),
        1 => (position(), 0_usize..300).prop_map(|(position, count)| Mutation::Repeat(position, count)),
    ]
}

fn mutated(mut bytes: Vec<u8>, mutations: Vec<Mutation>) -> Vec<u8> {
    for mutation in mutations {
        let length = bytes.len();
        match mutation {
            Mutation::Set(position, byte) if length > 0 => bytes[position % length] = byte,
            Mutation::Set(..) => {}
            Mutation::Cut(position) => bytes.truncate(position % (length + 1)),
            Mutation::Insert(position, new) => {
                let position = position % (length + 1);
                bytes.splice(position..position, new);
            }
            Mutation::Repeat(position, count) => {
                let tail = bytes[position % (length + 1)..].to_vec();
                bytes.extend(tail.iter().cycle().take(count.min(tail.len() * 300)));
            }
        }
    }
    bytes
}

/// Any bytes, or those of one of the seeds with up to eight mutations.
fn near(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let anything = vec(any::<u8>(), 0..600);
    let damaged = (proptest::sample::select(seeds), vec(mutation(), 0..8))
        .prop_map(|(seed, mutations)| mutated(seed, mutations));
    prop_oneof![1 => anything, 7 => damaged]
}

fn requests() -> Vec<Vec<u8>> {
    let requests = [
        Request::Connect {
            target: "10.96.10.1:80".parse().unwrap(),
        },
        Request::Connect {
            target: "[fe80::1%7]:443".parse().unwrap(),
        },
        Request::Peer { cookie: 7 },
        Request::OwnAddress { cookie: 7 },
        Request::Disconnect { cookie: 8 },
        Request::ShutDown { cookie: 9 },
        Request::Failure { cookie: u64::MAX },
        Request::Bind {
            address: "10.244.0.5:8080".parse().unwrap(),
        },
        Request::PodAddress {
            address: "127.106.0.1:8080".parse().unwrap(),
        },
        Request::ResolvConf,
        Request::Fetch {
            part: FilePart::Entries,
            path: b"/etc/config",
        },
        Request::Resolve {
            family: Family::Any,
            purpose: Purpose::AddressInfo,
            name: b"web.default",
        },
        Request::Query {
            transport: DnsTransport::Datagram,
            search: None,
            message: &[7; 40],
        },
        Request::Reverse {
            address: "2001:db8::1".parse().unwrap(),
        },
        Request::Uninjectable {
            blocker: InjectionBlocker::Static,
            is_refused: false,
            program: b"/bin/busybox",
        },
    ];
    requests.iter().map(|request| request.encode().to_vec()).collect()
}

fn addresses() -> Vec<Vec<u8>> {
    let address = |name, network| {
        let token = b"0123456789abcdef0123456789abcdef";
        ControlAddress { name, token, network }.to_bytes()
    };
    vec![address(b"kinject-0123", Some(u64::MAX)), address(b"", None)]
}

fn replies() -> Vec<Vec<u8>> {
    let mut replies = vec![
        Reply::Connected,
        Reply::InProgress,
        Reply::Local,
        Reply::Unknown,
        Reply::Noted,
        Reply::File,
        Reply::Peer("[2001:db8::1]:53".parse().unwrap()),
        Reply::StandIn("127.106.0.1:8080".parse().unwrap()),
        Reply::Addresses {
            canonical: b"web.default.svc.cluster.local".to_vec(),
            addresses: vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        },
        Reply::Answer(vec![9; 300]),
        Reply::Names(vec![b"web".to_vec(), b"alias".to_vec()]),
    ];
    replies.extend(ConnectFailure::ALL.map(Reply::Failed));
    replies.extend(NameFailure::ALL.map(Reply::NameFailed));
    let encode = |reply: &Reply| {
        let mut bytes = Vec::new();
        reply.encode(&mut bytes);
        bytes
    };
    replies.iter().map(encode).collect()
}

/// A table and a path each.
fn path_tables() -> Vec<Vec<u8>> {
    const TABLE: &str = "/run/s/root:m/etc/config:s/etc/config/cache:r/data:g/etc/ssl/**:l/data/local/*\
        :m/var/run/secrets/a:g/app/*.yaml:g/**/x/?b";
    [
        "/etc/config/..data/key",
        "/etc//config/cache/./a/",
        "/etc/config/../passwd",
        "/run/secrets/a/token",
        "/var/run/secrets",
        "/data/local/a",
        "/app/a.yaml",
        "/a/x/bb/c",
        "config/../x",
        "/",
    ]
    .map(|path| [TABLE.as_bytes(), b"\0", path.as_bytes()].concat())
    .to_vec()
}

/// Heads of ordinary programs and scripts.
fn executables() -> Vec<Vec<u8>> {
    let own = std::env::current_exe().unwrap();
    let mut files: Vec<Vec<u8>> = [own.as_path(), "/bin/sh".as_ref()]
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    for file in &mut files {
        file.truncate(2 * HEAD);
    }
    files.push(b"#!/usr/bin/env python3\nprint()\n".to_vec());
    files.push(b"#! \t/bin/sh -e\n".to_vec());
    files
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn accepted_request_bytes_reencode_to_the_same_request(bytes in near(requests())) {
        kinject_fuzz::request(&bytes);
    }

    #[test]
    fn accepted_control_address_reencodes_to_the_same_address(bytes in near(addresses())) {
        kinject_fuzz::address(&bytes);
    }

    #[test]
    fn route_of_a_path_is_the_same_for_each_spelling(bytes in near(path_tables())) {
        kinject_fuzz::paths(&bytes);
    }

    #[test]
    fn accepted_reply_bytes_reencode_to_the_same_reply(bytes in near(replies())) {
        kinject_fuzz::reply(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_program_file_is_classified_with_bounded_reads(bytes in near(executables())) {
        kinject_fuzz::executable(&bytes);
    }
}

#[test]
fn every_seed_is_valid() {
    use kinject_protocol::executable::interpreter;
    assert!(requests().iter().all(|bytes| Request::decode(bytes).is_ok()));
    assert!(replies().iter().all(|bytes| Reply::decode(bytes).is_ok()));
    assert!(
        addresses()
            .iter()
            .all(|bytes| ControlAddress::parse(bytes).is_some())
    );
    assert!(path_tables().iter().all(|bytes| {
        let value = bytes.split(|byte| *byte == 0).next().unwrap();
        PathTable::parse(value).is_some_and(|table| table.entries().count() == 8)
    }));
    let files = executables();
    assert!(files[..2].iter().all(|bytes| bytes.starts_with(b"\x7fELF")));
    assert!(files[2..].iter().all(|bytes| interpreter(bytes).is_some()));
}
