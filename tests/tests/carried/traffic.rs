//! How much a session sends to the API server.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::namespace::TestNamespace;

/// What a session may send that brings the agent, with TLS and everything else.
const WITH_AGENT: u64 = 1_700_000;

/// What one may send that finds the agent in the cluster.
const WITHOUT_AGENT: u64 = 100_000;

/// Passes connections on to the API server, and counts what its clients send. Its threads end with the test's process.
struct CountingProxy {
    address: SocketAddr,
    sent: Arc<AtomicU64>,
}

impl CountingProxy {
    fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sent = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&sent);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
                for (from, to, count) in [
                    (&client, &server, Some(Arc::clone(&count))),
                    (&server, &client, None),
                ] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || {
                        // either end may be gone: the other one learns of it
                        let _over = pass_on(&from, &to, count.as_deref()).is_err();
                        let _gone = to.shutdown(Shutdown::Write).is_err();
                    });
                }
            }
        });
        Self { address, sent }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

fn pass_on(mut from: &TcpStream, mut to: &TcpStream, count: Option<&AtomicU64>) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        if let Some(count) = count {
            count.fetch_add(read as u64, Ordering::Relaxed);
        }
        to.write_all(&buffer[..read])?;
    }
}

#[test]
fn first_session_sends_under_1700_kb_and_the_second_under_100_kb() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let server = namespace.cluster.api_server().unwrap();
    let proxy = CountingProxy::start(server);
    let kubeconfig = namespace
        .cluster
        .kubeconfig_through(&proxy.address.to_string())
        .unwrap();
    let first = namespace.session_with(&kubeconfig.path());
    let with_agent = proxy.sent();
    let second = namespace.session_with(&kubeconfig.path());
    let without = proxy.sent() - with_agent;
    eprintln!("sent to the API server: {with_agent} bytes by the first session, {without} by the second");
    assert!((1..=WITH_AGENT).contains(&with_agent), "{with_agent}");
    assert!((1..=WITHOUT_AGENT).contains(&without), "{without}");
    assert_eq!(first.end(), 0);
    assert_eq!(second.end(), 0);
    namespace.is_clean();
}
