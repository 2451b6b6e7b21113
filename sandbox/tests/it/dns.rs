//! What the DNS of the sandbox answers.

use std::net::{Ipv4Addr, SocketAddr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use kinject_sandbox::dns::{Records, Server, Transport, answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::support::DEADLINE;

const ID: u16 = 4711;

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(ID, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), kind));
    message
}

fn ask_message(message: &Message, transport: Transport) -> Message {
    let records = Records::of_world().unwrap();
    let bytes = answer(&records, &message.to_vec().unwrap(), transport)
        .unwrap()
        .unwrap();
    let response = Message::from_vec(&bytes).unwrap();
    assert_eq!(response.metadata.id, ID);
    assert_eq!(response.metadata.message_type, MessageType::Response);
    assert!(response.metadata.recursion_desired);
    response
}

fn ask(name: &str, kind: RecordType) -> Message {
    ask_message(&question(name, kind), Transport::Tcp)
}

fn addresses(records: &[Record]) -> Vec<Ipv4Addr> {
    let address = |record: &Record| match &record.data {
        RData::A(address) => Some(address.0),
        _ => None,
    };
    records.iter().filter_map(address).collect()
}

fn assert_no_data(response: &Message) {
    assert_eq!(response.metadata.response_code, ResponseCode::NoError);
    assert!(response.answers.is_empty());
    assert_eq!(response.authorities[0].record_type(), RecordType::SOA);
}

#[test]
fn service_name_resolves_to_its_cluster_ip_with_ttl_30() {
    for (name, address) in [
        ("web.default.svc.cluster.local", [10, 96, 10, 1]),
        ("api.default.svc.cluster.local", [10, 96, 10, 2]),
        ("echo.default.svc.cluster.local", [10, 96, 10, 3]),
        ("web.other.svc.cluster.local", [10, 96, 10, 4]),
        ("refused.default.svc.cluster.local", [10, 96, 10, 9]),
        ("kubernetes.default.svc.cluster.local", [10, 96, 0, 1]),
        ("kube-dns.kube-system.svc.cluster.local", [10, 96, 0, 10]),
    ] {
        let response = ask(name, RecordType::A);
        assert_eq!(response.metadata.response_code, ResponseCode::NoError, "{name}");
        assert!(response.metadata.authoritative);
        assert_eq!(addresses(&response.answers), [Ipv4Addr::from(address)], "{name}");
        assert_eq!(response.answers[0].ttl, 30);
    }
}

#[test]
fn headless_service_name_resolves_to_every_pod() {
    let pods = [21, 22, 23].map(|last| Ipv4Addr::new(10, 244, 0, last));
    let response = ask("db.default.svc.cluster.local", RecordType::A);
    assert_eq!(addresses(&response.answers), pods);
    let response = ask("db-1.db.default.svc.cluster.local", RecordType::A);
    assert_eq!(addresses(&response.answers), [pods[1]]);
}

#[test]
fn external_name_resolves() {
    let response = ask("database.external.test", RecordType::A);
    assert_eq!(addresses(&response.answers), [Ipv4Addr::new(203, 0, 113, 10)]);
}

#[test]
fn name_without_an_address_of_the_family_is_nodata() {
    assert_no_data(&ask("web.default.svc.cluster.local", RecordType::AAAA));
    assert_no_data(&ask("empty.external.test", RecordType::A));
    assert_no_data(&ask("empty.external.test", RecordType::AAAA));
    assert_eq!(ask("empty.external.test", RecordType::TXT).answers.len(), 1);
}

#[test]
fn namespace_name_is_nodata() {
    for name in [
        "default.svc.cluster.local",
        "svc.cluster.local",
        "default.pod.cluster.local",
        "_tcp.web.default.svc.cluster.local",
    ] {
        assert_no_data(&ask(name, RecordType::A));
    }
}

#[test]
fn unknown_cluster_name_is_nxdomain() {
    for name in [
        "nothing.default.svc.cluster.local",
        "web.nowhere.svc.cluster.local",
        "web.default.cluster.local",
        "db-3.db.default.svc.cluster.local",
    ] {
        let response = ask(name, RecordType::A);
        assert_eq!(response.metadata.response_code, ResponseCode::NXDomain, "{name}");
        assert_eq!(response.authorities[0].record_type(), RecordType::SOA);
        assert_eq!(response.authorities[0].ttl, 30);
    }
}

#[test]
fn unknown_external_name_is_nxdomain() {
    for name in ["missing.external.test", "example.com", "web", "localhost"] {
        assert_eq!(
            ask(name, RecordType::A).metadata.response_code,
            ResponseCode::NXDomain,
            "{name}"
        );
    }
}

#[test]
fn lookup_in_the_broken_zone_is_servfail() {
    for kind in [RecordType::A, RecordType::AAAA, RecordType::SRV] {
        assert_eq!(
            ask("anything.broken.test", kind).metadata.response_code,
            ResponseCode::ServFail
        );
    }
}

#[test]
fn name_matches_in_any_case_and_is_echoed_as_asked() {
    let response = ask("WEB.default.SVC.cluster.local", RecordType::A);
    assert_eq!(addresses(&response.answers), [Ipv4Addr::new(10, 96, 10, 1)]);
    assert_eq!(
        response.queries[0].name.to_ascii(),
        "WEB.default.SVC.cluster.local."
    );
}

#[test]
fn srv_query_finds_a_service_port() {
    let response = ask("_http._tcp.web.default.svc.cluster.local", RecordType::SRV);
    let RData::SRV(srv) = &response.answers[0].data else {
        panic!("no SRV record")
    };
    assert_eq!((srv.priority, srv.weight, srv.port), (0, 100, 80));
    assert_eq!(srv.target.to_ascii(), "web.default.svc.cluster.local.");
    assert_eq!(addresses(&response.additionals), [Ipv4Addr::new(10, 96, 10, 1)]);
}

#[test]
fn srv_query_of_a_headless_service_lists_every_pod() {
    let response = ask("_echo._tcp.db.default.svc.cluster.local", RecordType::SRV);
    let target = |record: &Record| match &record.data {
        RData::SRV(srv) => (srv.weight, srv.port, srv.target.to_ascii()),
        other => panic!("no SRV record: {other}"),
    };
    let pod = |name| (33, 7000, format!("{name}.db.default.svc.cluster.local."));
    assert_eq!(
        response.answers.iter().map(target).collect::<Vec<_>>(),
        [pod("db-0"), pod("db-1"), pod("db-2")]
    );
    assert_eq!(response.additionals.len(), 3);
}

#[test]
fn ptr_query_finds_the_name_of_an_address() {
    for (address, name) in [
        ("1.10.96.10", "web.default.svc.cluster.local."),
        ("22.0.244.10", "db-1.db.default.svc.cluster.local."),
        ("11.0.244.10", "10-244-0-11.web.default.svc.cluster.local."),
    ] {
        let response = ask(&format!("{address}.in-addr.arpa"), RecordType::PTR);
        assert_eq!(response.answers[0].data.to_string(), name);
    }
    let response = ask("200.0.244.10.in-addr.arpa", RecordType::PTR);
    assert_eq!(response.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn pod_name_made_of_its_address_resolves() {
    let response = ask("10-244-0-99.default.pod.cluster.local", RecordType::A);
    assert_eq!(addresses(&response.answers), [Ipv4Addr::new(10, 244, 0, 99)]);
    let response = ask("10-244-0.default.pod.cluster.local", RecordType::A);
    assert_eq!(response.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn answer_larger_than_a_datagram_is_truncated() {
    let message = question("db.default.svc.cluster.local", RecordType::SRV);
    let cut = ask_message(&message, Transport::Udp);
    assert!(cut.metadata.truncation);
    assert!(cut.answers.is_empty());
    let whole = ask_message(&message, Transport::Tcp);
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 27);
}

#[test]
fn edns_client_gets_a_larger_datagram() {
    let mut message = question("echo.default.svc.cluster.local", RecordType::SRV);
    assert!(ask_message(&message, Transport::Udp).metadata.truncation);
    message.set_edns(Edns::new().set_max_payload(4096).clone());
    let response = ask_message(&message, Transport::Udp);
    assert_eq!(response.answers.len(), 9);
    assert_eq!(response.edns.unwrap().max_payload(), 1232);
}

#[test]
fn malformed_message_is_refused_or_ignored() {
    let records = Records::of_world().unwrap();
    assert!(answer(&records, b"short", Transport::Udp).is_none());
    let mut response = question("web", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    assert!(answer(&records, &response.to_vec().unwrap(), Transport::Udp).is_none());

    let garbage = [0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    let bytes = answer(&records, &garbage, Transport::Udp).unwrap().unwrap();
    let response = Message::from_vec(&bytes).unwrap();
    assert_eq!(
        (response.metadata.id, response.metadata.response_code),
        (0x1234, ResponseCode::FormErr)
    );
}

#[test]
fn unsupported_query_is_refused() {
    let mut chaos = question("version.bind", RecordType::TXT);
    chaos.queries[0].query_class = DNSClass::CH;
    assert_eq!(
        ask_message(&chaos, Transport::Udp).metadata.response_code,
        ResponseCode::Refused
    );
    let mut two = question("web", RecordType::A);
    two.add_query(Query::query(Name::root(), RecordType::A));
    assert_eq!(
        ask_message(&two, Transport::Udp).metadata.response_code,
        ResponseCode::FormErr
    );
    let mut notify = question("web", RecordType::A);
    notify.metadata.op_code = OpCode::Notify;
    assert_eq!(
        ask_message(&notify, Transport::Udp).metadata.response_code,
        ResponseCode::NotImp
    );
}

async fn server() -> Server {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    Server::start(Records::of_world().unwrap(), any).await.unwrap()
}

#[tokio::test]
async fn query_over_udp_is_answered() {
    let server = server().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let message = question("web.default.svc.cluster.local", RecordType::A)
        .to_vec()
        .unwrap();
    socket.send_to(b"noise", server.address()).await.unwrap();
    socket.send_to(&message, server.address()).await.unwrap();
    let mut buffer = [0; 512];
    let (length, from) = timeout(DEADLINE, socket.recv_from(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(from, server.address());
    let response = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(addresses(&response.answers), [Ipv4Addr::new(10, 96, 10, 1)]);
}

#[tokio::test]
async fn many_queries_on_one_tcp_connection_are_answered() {
    let server = server().await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let message = question("db.default.svc.cluster.local", RecordType::SRV)
        .to_vec()
        .unwrap();
    let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
    stream.write_all(&framed.repeat(20)).await.unwrap();
    for _ in 0..20 {
        let length = timeout(DEADLINE, stream.read_u16()).await.unwrap().unwrap();
        let mut bytes = vec![0; usize::from(length)];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(Message::from_vec(&bytes).unwrap().answers.len(), 27);
    }
}
