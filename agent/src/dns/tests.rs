//! The forwarder with test name servers on loopback.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize as Count;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::{Instant, timeout};

use super::*;
use crate::resolv_conf;

/// The datagrams with which a name server answers a query over UDP.
type Answer = fn(&[u8]) -> Vec<Vec<u8>>;

struct Nameserver {
    address: SocketAddr,
    queries: Arc<Count>,
}

/// Answers over UDP by `answer`, and over TCP with 3000 bytes.
async fn nameserver(answer: Answer) -> Nameserver {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // The same TCP port may be in use.
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let (address, queries) = (udp.local_addr().unwrap(), Arc::new(Count::new(0)));
    let seen = Arc::clone(&queries);
    tokio::spawn(async move {
        let mut query = vec![0; 65_535];
        loop {
            let (length, from) = udp.recv_from(&mut query).await.unwrap();
            seen.fetch_add(1, Memory::Relaxed);
            for answer in answer(&query[..length]) {
                udp.send_to(&answer, from).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut query = vec![0; usize::from(length)];
            stream.read_exact(&mut query).await.unwrap();
            let mut answer = response(&query, 0);
            answer.resize(3000, 0);
            stream.write_u16(3000).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    Nameserver { address, queries }
}

fn resolver(servers: &[SocketAddr], options: &str) -> Resolver {
    let mut conf = resolv_conf::parse(format!("options {options}\n"));
    conf.servers = servers.to_vec();
    Resolver::new(conf)
}

/// The query turned into an answer with this code.
fn response(query: &[u8], rcode: u8) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2] |= 0x80;
    answer[3] = rcode;
    answer
}

/// The question for a name's IPv4 addresses.
fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
}

fn silence(_: &[u8]) -> Vec<Vec<u8>> {
    vec![]
}

fn nxdomain(query: &[u8]) -> Vec<Vec<u8>> {
    vec![response(query, 3)]
}

fn servfail(query: &[u8]) -> Vec<Vec<u8>> {
    vec![response(query, 2)]
}

fn truncated(query: &[u8]) -> Vec<Vec<u8>> {
    let mut answer = response(query, 0);
    answer[2] |= 0x02;
    vec![answer]
}

fn forged_first(query: &[u8]) -> Vec<Vec<u8>> {
    let good = response(query, 3);
    let (mut other_id, mut other_name) = (good.clone(), good.clone());
    other_id[0] ^= 0xff;
    other_name[13] = b'z';
    vec![vec![], vec![0; 4], other_id, other_name, query.to_vec(), good]
}

#[tokio::test]
async fn answer_is_forwarded_unchanged_with_the_relays_id() {
    let server = nameserver(nxdomain).await;
    let mut asked = query("missing.external.test");
    message::set_id(&mut asked, 0xbeef);
    // An EDNS OPT record, which the forwarder does not parse.
    asked.extend_from_slice(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00");
    asked[11] = 1;
    let answer = resolver(&[server.address], "").forward(&asked).await.unwrap();
    assert_eq!(answer, response(&asked, 3));
}

#[tokio::test]
async fn forged_and_broken_answers_are_ignored() {
    let server = nameserver(forged_first).await;
    let answer = resolver(&[server.address], "")
        .forward(&query("web"))
        .await
        .unwrap();
    assert_eq!(answer, response(&query("web"), 3));
}

#[tokio::test]
async fn truncated_answer_is_retried_over_tcp() {
    let server = nameserver(truncated).await;
    let answer = resolver(&[server.address], "")
        .forward(&query("web"))
        .await
        .unwrap();
    assert_eq!(answer.len(), 3000);
    let over_tcp_at_once = resolver(&[server.address], "use-vc")
        .forward(&query("web"))
        .await
        .unwrap();
    assert_eq!(over_tcp_at_once.len(), 3000);
    assert_eq!(server.queries.load(Memory::Relaxed), 1);
}

#[tokio::test]
async fn server_that_times_out_is_followed_by_the_next() {
    let (silent, good) = (nameserver(silence).await, nameserver(nxdomain).await);
    let resolver = resolver(&[silent.address, good.address], "timeout:1");
    assert_eq!(resolver.forward(&query("web")).await.unwrap()[3], 3);
    assert_eq!(silent.queries.load(Memory::Relaxed), 1);
}

#[tokio::test]
async fn all_attempts_without_an_answer_return_timed_out() {
    let silent = nameserver(silence).await;
    let start = Instant::now();
    let error = resolver(&[silent.address], "timeout:1 attempts:2")
        .forward(&query("web"))
        .await
        .unwrap_err();
    assert!(matches!(error, ForwardError::TimedOut), "{error:?}");
    assert_eq!(silent.queries.load(Memory::Relaxed), 2);
    // One second, then two.
    assert!(
        (3..10).contains(&start.elapsed().as_secs()),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn servfail_is_returned_only_when_no_other_server_answers() {
    let (failing, good) = (nameserver(servfail).await, nameserver(nxdomain).await);
    let answer = resolver(&[failing.address, good.address], "")
        .forward(&query("web"))
        .await
        .unwrap();
    assert_eq!(answer[3], 3);
    let answer = resolver(&[failing.address], "attempts:5")
        .forward(&query("anything.broken.test"))
        .await
        .unwrap();
    assert_eq!(answer[3], 2, "SERVFAIL passes as it is");
    assert_eq!(failing.queries.load(Memory::Relaxed), 2);
}

#[tokio::test]
async fn closed_server_port_fails_without_waiting() {
    let gone = UdpSocket::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let resolver = resolver(&[gone], "timeout:30");
    let forwarded = timeout(Duration::from_secs(5), resolver.forward(&query("web")))
        .await
        .unwrap();
    assert!(matches!(forwarded, Err(ForwardError::Failed(_))), "{forwarded:?}");
}

#[tokio::test]
async fn rotate_spreads_queries_over_the_servers() {
    let (one, two) = (nameserver(nxdomain).await, nameserver(nxdomain).await);
    let resolver = resolver(&[one.address, two.address], "rotate");
    for _ in 0..4 {
        resolver.forward(&query("web")).await.unwrap();
    }
    assert_eq!(
        (
            one.queries.load(Memory::Relaxed),
            two.queries.load(Memory::Relaxed)
        ),
        (2, 2)
    );
}

#[tokio::test]
async fn message_that_is_not_a_query_is_not_forwarded() {
    let server = nameserver(nxdomain).await;
    let resolver = resolver(&[server.address], "");
    let (answer, two_questions) = (response(&query("web"), 0), {
        let mut query = query("web");
        query[5] = 2;
        query
    });
    for message in [
        b"".as_slice(),
        b"GET /",
        &answer,
        &two_questions,
        &query("web")[..20],
    ] {
        assert!(
            matches!(resolver.forward(message).await, Err(ForwardError::NotAQuery)),
            "{message:?}"
        );
    }
    assert_eq!(server.queries.load(Memory::Relaxed), 0);
}

#[tokio::test]
async fn three_hundred_concurrent_queries_are_all_answered() {
    let server = nameserver(nxdomain).await;
    let resolver = Arc::new(resolver(&[server.address], "timeout:1 attempts:5"));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..300 {
        let resolver = Arc::clone(&resolver);
        tasks.spawn(async move {
            let asked = query(&format!("name-{number}.test"));
            assert_eq!(resolver.forward(&asked).await.unwrap(), response(&asked, 3));
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}
