//! Unauthenticated connections at an agent's listeners do not keep a relay out.

#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

mod support;

use std::collections::VecDeque;
use std::time::Duration;

use kinject_tunnel::{Endpoint, RelayIdentity, Security, SessionKeys, Stream, Tunnel, lanes, link};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::{Agent, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: kinject\r\n\r\n";

/// The beginning of a TLS record with a ClientHello.
const HALF_A_RECORD: &[u8] = b"\x16\x03\x01\x02\x00\x01";

/// More connections than slots.
const CONNECTIONS: usize = 600;

/// How long a relay may take in these tests: some milliseconds on an idle machine.
const AT_ONCE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq)]
enum EndpointKind {
    Unix,
    Tcp,
    PortForward,
    Proxy,
}

const ENDPOINT_KINDS: [EndpointKind; 4] = [
    EndpointKind::Unix,
    EndpointKind::Tcp,
    EndpointKind::PortForward,
    EndpointKind::Proxy,
];

/// An agent with a listener of every kind.
struct Everywhere {
    agent: Agent,
    endpoints: [Endpoint; 4],
    relay: RelayIdentity,
}

impl Everywhere {
    fn start() -> Everywhere {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        let keys = SessionKeys::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let unix = format!("unix:{}", folder.path().join("agent.sock").display());
        let identity = folder.path().join("identity");
        std::fs::write(&identity, &keys.agent).unwrap();
        let mut command = Agent::command();
        command
            .arg("--identity")
            .arg(identity)
            .args(["--listen", &unix, "--listen", "tcp:127.0.0.1:0"])
            .args(["--listen-forward", "127.0.0.1:0", "--listen-proxy", "127.0.0.1:0"]);
        let agent = Agent::run(command, folder);
        let endpoints = [
            agent.endpoint("listening on unix:"),
            agent.endpoint("listening on tcp:"),
            agent.endpoint("for port-forward"),
            agent.endpoint("API server's proxy"),
        ];
        Everywhere {
            agent,
            endpoints,
            relay: keys.relay,
        }
    }

    /// The agent's resident memory.
    fn resident_mib(&self) -> u64 {
        let status = format!("/proc/{}/status", self.agent.process.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() / 1024
    }

    async fn connect(&self, kind: EndpointKind) -> Stream {
        let endpoint = &self.endpoints[kind as usize];
        soon(async {
            loop {
                match endpoint.connect().await {
                    // the agent's backlog is full, for which a non-blocking Unix socket does not wait (connect(2))
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        tokio::task::yield_now().await
                    }
                    connected => return connected.unwrap(),
                }
            }
        })
        .await
    }

    /// A connection that gets as far as possible without a key, and stops.
    async fn half_open(&self, kind: EndpointKind) -> Stream {
        let mut stream = self.connect(kind).await;
        if kind == EndpointKind::Proxy {
            upgrade(&mut stream).await.unwrap();
        }
        stream.write_all(HALF_A_RECORD).await.unwrap();
        stream
    }

    /// Opens a tunnel as a relay does, up to an answer of the agent.
    async fn open(&self, kind: EndpointKind) -> Result<(), Evicted> {
        let stream = self.connect(kind).await;
        self.open_on(kind, stream).await
    }

    async fn open_on(&self, kind: EndpointKind, mut stream: Stream) -> Result<(), Evicted> {
        if kind == EndpointKind::Proxy {
            upgrade(&mut stream).await?;
        }
        let security = match kind {
            EndpointKind::Unix => Security::Proof,
            EndpointKind::Tcp | EndpointKind::PortForward | EndpointKind::Proxy => Security::Tls,
        };
        let (mut stream, hello) = link::open(stream, &self.relay, security).await?;
        if kind == EndpointKind::PortForward {
            stream = lanes::begin(stream).await?.0;
        }
        let (tunnel, driver) = Tunnel::over(stream, hello).await?;
        let driver = tokio::spawn(driver);
        let answer = tunnel.facts().await;
        driver.abort();
        answer?;
        Ok(())
    }
}

/// The agent closed the connection before the relay was authenticated.
#[derive(Debug)]
struct Evicted;

impl<E: std::error::Error> From<E> for Evicted {
    fn from(error: E) -> Self {
        eprintln!("the relay's connection ended: {error}");
        Evicted
    }
}

async fn upgrade(stream: &mut Stream) -> Result<(), Evicted> {
    stream.write_all(UPGRADE).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    Ok(())
}

async fn at_once<T>(kind: EndpointKind, opening: impl Future<Output = T>) -> T {
    let entered = timeout(AT_ONCE, opening).await;
    entered.unwrap_or_else(|_| panic!("{kind:?}: the relay was kept out"))
}

#[tokio::test]
async fn relay_gets_in_while_idle_connections_fill_every_listener() {
    let everywhere = Everywhere::start();
    let mut connections = Vec::new();
    for kind in ENDPOINT_KINDS {
        for _ in 0..CONNECTIONS {
            connections.push(everywhere.connect(kind).await);
        }
    }
    for kind in ENDPOINT_KINDS {
        at_once(kind, everywhere.open(kind)).await.unwrap();
    }
}

#[tokio::test]
async fn relay_gets_in_while_unfinished_handshakes_fill_every_listener() {
    let everywhere = Everywhere::start();
    let mut connections = Vec::new();
    for kind in ENDPOINT_KINDS {
        for _ in 0..CONNECTIONS {
            connections.push(everywhere.half_open(kind).await);
        }
        at_once(kind, everywhere.open(kind)).await.unwrap();
    }
    // every slot of every listener is in use
    let resident = everywhere.resident_mib();
    assert!(resident < 64, "{resident} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relay_gets_in_during_a_continuous_connection_flood() {
    let everywhere = Everywhere::start();
    for kind in ENDPOINT_KINDS {
        let endpoint = everywhere.endpoints[kind as usize].clone();
        let flood = tokio::spawn(async move {
            let mut connections = VecDeque::new();
            loop {
                // the agent's backlog may be full for a moment
                connections.extend(endpoint.connect().await.ok());
                if connections.len() > CONNECTIONS {
                    connections.pop_front();
                }
                tokio::task::yield_now().await;
            }
        });
        everywhere
            .agent
            .line("too many connections have not proven themselves");
        for _ in 0..3 {
            // retries on a busy machine, as the relay does
            at_once(kind, async { while everywhere.open(kind).await.is_err() {} }).await;
        }
        flood.abort();
    }
}

#[tokio::test]
async fn flood_at_one_listener_evicts_no_connection_of_another() {
    let everywhere = Everywhere::start();
    for kind in ENDPOINT_KINDS {
        // it has not sent a byte when the flood begins at the other listener
        let waiting = everywhere.connect(kind).await;
        let other = ENDPOINT_KINDS[(kind as usize + 1) % ENDPOINT_KINDS.len()];
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(everywhere.connect(other).await);
        }
        // the agent has accepted all of them
        everywhere.open(other).await.unwrap();
        everywhere.open_on(kind, waiting).await.unwrap();
    }
}

#[tokio::test]
async fn new_connection_evicts_the_oldest_unproven_one() {
    let everywhere = Everywhere::start();
    let mut connections = VecDeque::new();
    for _ in 0..CONNECTIONS {
        connections.push_back(everywhere.connect(EndpointKind::Tcp).await);
    }
    everywhere.open(EndpointKind::Tcp).await.unwrap();
    let start = Instant::now();
    let mut oldest = connections.pop_front().unwrap();
    assert_eq!(soon(oldest.read(&mut [0; 1])).await.unwrap_or(0), 0);
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "it was closed by its timeout"
    );
}

#[tokio::test]
async fn connection_flood_is_logged_once_and_refusals_are_limited() {
    let everywhere = Everywhere::start();
    for _ in 0..300 {
        let mut stream = everywhere.connect(EndpointKind::Tcp).await;
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a-host-with-a-name-that-is-long\r\n\r\n\r\n\r\n")
            .await
            .unwrap();
        let _closed = soon(stream.read(&mut [0; 1])).await;
    }
    let mut connections = Vec::new();
    for _ in 0..3 * CONNECTIONS {
        connections.push(everywhere.connect(EndpointKind::Tcp).await);
    }
    everywhere.open(EndpointKind::Unix).await.unwrap();
    let lines = everywhere.agent.lines_until("tunnel open");
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("too many connections"), 1, "{lines:#?}");
    assert_eq!(count("refused"), 20, "{lines:#?}");
    assert_eq!(count("more like this is not logged"), 1, "{lines:#?}");
}
