//! Requests and their answers: each test plays the agent's end.

#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kinject_tunnel::http2::{ConnectRequest, DnsRequest, Incoming, Server};
use kinject_tunnel::{
    AgentFacts, AgentIdentity, CloseReason, DialError, InterfaceAddress, RelayIdentity, RequestError, Scope,
    Security, Tunnel, link,
};
use support::{secret, soon};
use tokio::io::DuplexStream;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

struct Ends {
    tunnel: Tunnel,
    driver: JoinHandle<CloseReason>,
    requests: UnboundedReceiver<Incoming>,
    agent: JoinHandle<CloseReason>,
}

/// A tunnel, and the requests that arrive at its agent's end.
async fn ends() -> Ends {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    ends_of(ours, theirs).await
}

/// The same over a transport that stops carrying bytes on notification, and stays open.
async fn ends_to_be_cut() -> (Ends, Arc<Notify>) {
    let (ours, mut near) = tokio::io::duplex(1 << 20);
    let (mut far, theirs) = tokio::io::duplex(1 << 20);
    let cut = Arc::new(Notify::new());
    let wait = Arc::clone(&cut);
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            () = wait.notified() => std::future::pending().await,
        }
    });
    (ends_of(ours, theirs).await, cut)
}

async fn ends_of(ours: DuplexStream, theirs: DuplexStream) -> Ends {
    let (send, requests) = unbounded_channel();
    let agent = tokio::spawn(async move {
        let identity = AgentIdentity::from_secret(&secret(1)).unwrap();
        let (stream, _) = link::accept(Box::new(theirs), &identity, Security::Proof)
            .await
            .unwrap();
        let mut server = Server::start(stream).await.unwrap();
        loop {
            match server.next().await {
                Ok(request) => send.send(request).unwrap(),
                Err(reason) => return reason,
            }
        }
    });
    let identity = RelayIdentity::from_secret(&secret(1)).unwrap();
    let (tunnel, driver) = soon(Tunnel::open(Box::new(ours), &identity, Security::Proof))
        .await
        .unwrap();
    Ends {
        tunnel,
        driver: tokio::spawn(driver),
        requests,
        agent,
    }
}

impl Ends {
    async fn connect_request(&mut self) -> ConnectRequest {
        match soon(self.requests.recv()).await {
            Some(Incoming::Connect(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    async fn dns_request(&mut self) -> DnsRequest {
        match soon(self.requests.recv()).await {
            Some(Incoming::Dns(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn connecting(&self, authority: &'static str) -> JoinHandle<Result<(), DialError>> {
        let tunnel = self.tunnel.clone();
        tokio::spawn(async move { tunnel.connect(authority).await.map(drop) })
    }

    fn asking(&self, query: &'static [u8]) -> JoinHandle<Result<Bytes, RequestError>> {
        let tunnel = self.tunnel.clone();
        tokio::spawn(async move { tunnel.dns(Bytes::from_static(query)).await })
    }
}

#[tokio::test]
async fn dial_error_reaches_the_relay_unchanged() {
    let mut ends = ends().await;
    for error in [
        DialError::Refused,
        DialError::TimedOut,
        DialError::HostUnreachable,
        DialError::NetworkUnreachable,
        DialError::AddressNotAvailable,
        DialError::PermissionDenied,
        DialError::Reset,
        DialError::Other("too many open files".into()),
    ] {
        let connecting = ends.connecting("10.96.10.9:80");
        let request = ends.connect_request().await;
        assert_eq!(request.authority(), "10.96.10.9:80");
        request.refuse(&error);
        assert_eq!(soon(connecting).await.unwrap(), Err(error));
    }
}

#[tokio::test]
async fn name_ipv4_and_ipv6_address_are_valid_authorities() {
    let mut ends = ends().await;
    for authority in ["[fd00::1]:443", "db-0.db:7000", "10.0.0.1:1"] {
        let connecting = ends.connecting(authority);
        let request = ends.connect_request().await;
        assert_eq!(request.authority(), authority);
        assert!(request.accept().is_some());
        soon(connecting).await.unwrap().unwrap();
    }
    let error = soon(ends.tunnel.connect("no port")).await.unwrap_err();
    assert!(matches!(error, DialError::Other(_)), "{error:?}");
}

#[tokio::test]
async fn dropped_dial_is_cancelled_at_the_agent() {
    let mut ends = ends().await;
    let connecting = ends.connecting("192.0.2.1:80");
    let mut request = ends.connect_request().await;
    connecting.abort();
    soon(request.cancelled()).await;
    assert!(request.accept().is_none(), "a cancelled connection was accepted");
}

#[tokio::test]
async fn dial_in_progress_fails_when_the_tunnel_is_lost() {
    let mut ends = ends().await;
    let connecting = ends.connecting("192.0.2.1:80");
    let mut request = ends.connect_request().await;
    ends.agent.abort();
    assert_eq!(soon(connecting).await.unwrap(), Err(DialError::TunnelLost));
    soon(request.cancelled()).await;
}

#[tokio::test]
async fn dns_answer_of_any_length_is_returned() {
    let mut ends = ends().await;
    for length in [12, 513, 65_535] {
        let asking = ends.asking(b"query");
        let mut request = ends.dns_request().await;
        assert_eq!(soon(request.query()).await.unwrap(), "query");
        request.answer(vec![7; length].into());
        assert_eq!(soon(asking).await.unwrap().unwrap(), vec![7; length]);
    }
}

#[tokio::test]
async fn dns_failures_map_to_distinct_errors() {
    let mut ends = ends().await;
    let asking = ends.asking(b"query");
    ends.dns_request().await.timed_out();
    assert_eq!(soon(asking).await.unwrap(), Err(RequestError::TimedOut));

    let asking = ends.asking(b"query");
    ends.dns_request().await.failed("nobody listens");
    let failed = RequestError::Failed {
        status: 502,
        reason: "nobody listens".into(),
    };
    assert_eq!(soon(asking).await.unwrap(), Err(failed));

    let asking = ends.asking(b"query");
    ends.dns_request().await.malformed();
    assert!(matches!(
        soon(asking).await.unwrap(),
        Err(RequestError::Failed { status: 400, .. })
    ));

    let asking = ends.asking(b"query");
    drop(ends.dns_request().await);
    assert!(matches!(
        soon(asking).await.unwrap(),
        Err(RequestError::BadAnswer(_))
    ));

    let asking = ends.asking(b"query");
    let request = ends.dns_request().await;
    ends.agent.abort();
    assert_eq!(soon(asking).await.unwrap(), Err(RequestError::TunnelLost));
    drop(request);
}

#[tokio::test]
async fn dropped_query_is_cancelled_at_the_agent() {
    let mut ends = ends().await;
    let asking = ends.asking(b"query");
    let mut request = ends.dns_request().await;
    asking.abort();
    soon(request.cancelled()).await;
}

#[tokio::test]
async fn facts_arrive_unchanged() {
    let mut ends = ends().await;
    let facts = AgentFacts {
        version: "1.2.3".into(),
        hostname: "web-0".into(),
        resolv_conf: "nameserver 10.96.0.10\nsearch default.svc.cluster.local\n".into(),
        networks: Vec::new(),
        addresses: vec![InterfaceAddress {
            interface: "eth0".into(),
            address: "fd00::7".parse().unwrap(),
            prefix_length: 64,
            scope: Scope::Global,
        }],
    };
    let tunnel = ends.tunnel.clone();
    let asking = tokio::spawn(async move { tunnel.facts().await });
    match soon(ends.requests.recv()).await {
        Some(Incoming::Facts(request)) => request.answer(&facts),
        other => panic!("{other:?}"),
    }
    assert_eq!(soon(asking).await.unwrap().unwrap(), facts);
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_tunnel_at_both_ends() {
    let ends = ends().await;
    drop(ends.tunnel);
    assert_eq!(soon(ends.driver).await.unwrap(), CloseReason::Finished);
    assert_eq!(soon(ends.agent).await.unwrap(), CloseReason::PeerClosed);
}

#[tokio::test(start_paused = true)]
async fn an_idle_tunnel_stays_open() {
    let ends = ends().await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!ends.driver.is_finished() && !ends.agent.is_finished());
}

#[tokio::test(start_paused = true)]
async fn silent_peer_closes_the_tunnel_after_three_heartbeats() {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let (opened, accepted) = tokio::join!(
        async {
            let identity = RelayIdentity::from_secret(&secret(1)).unwrap();
            Tunnel::open(Box::new(ours), &identity, Security::Proof)
                .await
                .unwrap()
        },
        async {
            let identity = AgentIdentity::from_secret(&secret(1)).unwrap();
            link::accept(Box::new(theirs), &identity, Security::Proof)
                .await
                .unwrap()
        }
    );
    // The transport stays open, but carries nothing.
    let (_held, (_tunnel, driver)) = (accepted, opened);
    let start = tokio::time::Instant::now();
    assert_eq!(driver.await, CloseReason::Silent);
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn tunnel_that_falls_silent_is_closed_after_thirty_seconds() {
    for lived in [1, 5, 11, 25, 39] {
        let (ends, cut) = ends_to_be_cut().await;
        let start = tokio::time::Instant::now();
        tokio::time::sleep(Duration::from_secs(lived)).await;
        cut.notify_one();
        for end in [ends.driver, ends.agent] {
            let reason = end.await.unwrap();
            assert_eq!(reason, CloseReason::Silent);
            assert_eq!(
                reason.to_string(),
                "nothing was heard from the other end for 30 seconds"
            );
            // the last received bytes were the answer to a PING, of which there is one every ten seconds
            let silent = start.elapsed().as_secs() - lived / 10 * 10;
            assert_eq!(silent, 30, "cut after {lived} seconds");
        }
    }
}
