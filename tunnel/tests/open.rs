//! Opening a tunnel: proof of the key, versions, and what an unauthenticated peer receives.

#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

mod support;

use std::time::Duration;

use kinject_tunnel::http2::Server;
use kinject_tunnel::{
    AgentIdentity, Hello, OpenError, RelayIdentity, Security, SessionKeys, Stream, Tunnel, Version,
    WIRE_VERSION, link,
};
use support::{secret, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

const HELLO_BYTES: usize = 60;

fn streams() -> (DuplexStream, DuplexStream) {
    duplex(64 * 1024)
}

fn boxed(stream: DuplexStream) -> Stream {
    Box::new(stream)
}

async fn both(
    relay: &RelayIdentity,
    agent: &AgentIdentity,
    security: Security,
) -> (Result<Hello, OpenError>, Result<Hello, OpenError>) {
    let (ours, theirs) = streams();
    let open = async {
        link::open(boxed(ours), relay, security)
            .await
            .map(|(_, hello)| hello)
    };
    let accept = async {
        link::accept(boxed(theirs), agent, security)
            .await
            .map(|(_, hello)| hello)
    };
    soon(async { tokio::join!(open, accept) }).await
}

/// A hello of another wire version.
fn foreign_hello() -> [u8; HELLO_BYTES] {
    let mut bytes = [0; HELLO_BYTES];
    bytes[..8].copy_from_slice(b"kinject\0");
    bytes[8..10].copy_from_slice(&(WIRE_VERSION + 1).to_be_bytes());
    bytes[11] = 6;
    bytes[12..18].copy_from_slice(b"99.0.1");
    bytes
}

#[tokio::test]
async fn shared_secret_opens_a_link_by_proof_and_by_tls() {
    let relay = RelayIdentity::from_secret(&secret(1)).unwrap();
    let agent = AgentIdentity::from_secret(&secret(1)).unwrap();
    for security in [Security::Proof, Security::Tls] {
        let (opened, accepted) = both(&relay, &agent, security).await;
        assert_eq!(opened.unwrap().session, relay.session());
        assert_eq!(accepted.unwrap().session, relay.session());
    }
}

#[tokio::test]
async fn session_keys_open_a_link_by_proof_and_by_tls() {
    let keys = SessionKeys::generate().unwrap();
    let agent: AgentIdentity = keys.agent.parse().unwrap();
    for security in [Security::Proof, Security::Tls] {
        let (opened, accepted) = both(&keys.relay, &agent, security).await;
        assert_eq!(opened.unwrap().version.software, env!("CARGO_PKG_VERSION"));
        assert_eq!(accepted.unwrap().session, keys.relay.session());
    }
}

#[tokio::test]
async fn wrong_secret_returns_not_proven_at_the_relay() {
    let relay = RelayIdentity::from_secret(&secret(1)).unwrap();
    let agent = AgentIdentity::from_secret(&secret(2)).unwrap();
    for security in [Security::Proof, Security::Tls] {
        let (opened, accepted) = both(&relay, &agent, security).await;
        assert!(matches!(opened, Err(OpenError::NotProven)), "{opened:?}");
        assert!(
            matches!(accepted, Err(OpenError::Closed | OpenError::Tls(_))),
            "{accepted:?}"
        );
    }
}

#[tokio::test]
async fn certificate_of_another_session_is_refused_at_both_ends() {
    let (ours, others) = (SessionKeys::generate().unwrap(), SessionKeys::generate().unwrap());
    let agent: AgentIdentity = others.agent.parse().unwrap();
    let (opened, accepted) = both(&ours.relay, &agent, Security::Tls).await;
    assert!(matches!(opened, Err(OpenError::NotProven)), "{opened:?}");
    assert!(
        matches!(accepted, Err(OpenError::Tls(_) | OpenError::Closed)),
        "{accepted:?}"
    );
}

/// Opens with `security` at an agent that requires `least`; the results of both ends.
async fn opening(security: Security, least: Security) -> (Result<(), OpenError>, Result<(), OpenError>) {
    let (relay, agent) = (
        RelayIdentity::from_secret(&secret(1)).unwrap(),
        AgentIdentity::from_secret(&secret(1)).unwrap(),
    );
    let (ours, theirs) = streams();
    let open = async { link::open(boxed(ours), &relay, security).await.map(drop) };
    let accept = async { link::accept(boxed(theirs), &agent, least).await.map(drop) };
    soon(async { tokio::join!(open, accept) }).await
}

#[tokio::test]
async fn relay_asking_for_tls_gets_it_where_a_proof_is_accepted() {
    let (opened, accepted) = opening(Security::Tls, Security::Proof).await;
    opened.unwrap();
    accepted.unwrap();
}

#[tokio::test]
async fn proof_is_refused_where_tls_is_required() {
    let (opened, accepted) = opening(Security::Proof, Security::Tls).await;
    assert!(matches!(opened, Err(OpenError::Closed)), "{opened:?}");
    assert!(matches!(accepted, Err(OpenError::WithoutTls)), "{accepted:?}");
}

/// A man in the middle answers as an agent without TLS does, to downgrade the relay.
#[tokio::test]
async fn relay_asking_for_tls_accepts_no_clear_text_answer() {
    let keys = SessionKeys::generate().unwrap();
    let mut hello = foreign_hello();
    hello[8..10].copy_from_slice(&WIRE_VERSION.to_be_bytes());
    for answer in [&hello[..], &foreign_hello(), b"HTTP/1.1 200 OK\r\n\r\n"] {
        let (ours, mut theirs) = streams();
        theirs.write_all(answer).await.unwrap();
        let error = soon(link::open(boxed(ours), &keys.relay, Security::Tls))
            .await
            .map(drop)
            .unwrap_err();
        assert!(matches!(error, OpenError::NotKinject), "{error:?}");
        let mut sent = Vec::new();
        soon(theirs.read_to_end(&mut sent)).await.unwrap();
        let hello = sent.windows(8).any(|bytes| bytes == b"kinject\0");
        assert!(!hello, "the relay went on in clear");
    }
}

#[tokio::test]
async fn relay_of_another_wire_version_gets_our_hello_where_tls_is_required() {
    let agent = AgentIdentity::from_secret(&secret(1)).unwrap();
    let (mut ours, theirs) = streams();
    ours.write_all(&foreign_hello()).await.unwrap();
    let error = soon(link::accept(boxed(theirs), &agent, Security::Tls))
        .await
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, OpenError::Version { .. }), "{error:?}");
    let mut answer = [0; HELLO_BYTES];
    soon(ours.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer[8..10], WIRE_VERSION.to_be_bytes());
}

#[tokio::test]
async fn clear_text_hello_is_used_only_to_learn_another_wire_version() {
    let relay = RelayIdentity::from_secret(&secret(1)).unwrap();
    let mut same = foreign_hello();
    same[8..10].copy_from_slice(&WIRE_VERSION.to_be_bytes());
    for (answer, is_reported) in [
        (&foreign_hello()[..], true),
        (&same, false),
        (&[b'x'; 100], false),
    ] {
        let (ours, mut theirs) = streams();
        theirs.write_all(answer).await.unwrap();
        let reported = soon(link::other_version(boxed(ours), &relay)).await;
        assert_eq!(
            matches!(&reported, Some(OpenError::Version { theirs, .. }) if theirs.software == "99.0.1"),
            is_reported,
            "{reported:?}"
        );
        assert!(is_reported || reported.is_none());
    }
}

#[tokio::test]
async fn tls_only_listener_does_not_reveal_its_version() {
    let agent = AgentIdentity::from_secret(&secret(1)).unwrap();
    let (mut ours, theirs) = streams();
    ours.write_all(&foreign_hello()).await.unwrap();
    let accepted = soon(link::accept_tls(boxed(theirs), &agent)).await;
    assert!(accepted.is_err());
    let mut answer = Vec::new();
    soon(ours.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.windows(7).any(|bytes| bytes == b"kinject"), "{answer:?}");
}

#[tokio::test]
async fn wire_version_mismatch_is_reported_at_both_ends() {
    // A relay of a later version.
    let (mut ours, theirs) = streams();
    ours.write_all(&foreign_hello()).await.unwrap();
    let agent = AgentIdentity::from_secret(&secret(1)).unwrap();
    let error = soon(link::accept(boxed(theirs), &agent, Security::Proof))
        .await
        .map(drop)
        .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains(&format!("99.0.1 (wire {})", WIRE_VERSION + 1))
            && message.contains(&format!("wire {WIRE_VERSION}")),
        "{message}"
    );
    let mut answer = Vec::new();
    soon(ours.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(
        answer.len(),
        HELLO_BYTES,
        "the agent answers with its hello and nothing else"
    );

    // An agent of a later version.
    let (ours, mut theirs) = streams();
    theirs.write_all(&foreign_hello()).await.unwrap();
    let relay = RelayIdentity::from_secret(&secret(1)).unwrap();
    let error = soon(Tunnel::open(boxed(ours), &relay, Security::Proof))
        .await
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(&error, OpenError::Version { theirs, .. } if theirs.wire == WIRE_VERSION + 1 && theirs.software == "99.0.1"),
        "{error:?}"
    );
}

#[tokio::test]
async fn agent_of_another_wire_version_is_reported_by_proof_and_by_tls() {
    let keys = SessionKeys::generate().unwrap();
    let agent: AgentIdentity = keys.agent.parse().unwrap();
    let agent = agent.of_version(Version {
        wire: WIRE_VERSION + 1,
        software: "99.0.1".into(),
    });
    for security in [Security::Proof, Security::Tls] {
        let (opened, accepted) = both(&keys.relay, &agent, security).await;
        assert!(
            matches!(&opened, Err(OpenError::Version { theirs, .. }) if theirs.software == "99.0.1"),
            "{opened:?}"
        );
        assert!(
            matches!(&accepted, Err(OpenError::Version { theirs, .. }) if *theirs == Version::own()),
            "{accepted:?}"
        );
    }
}

#[tokio::test]
async fn agent_of_another_release_with_our_wire_version_is_accepted() {
    let keys = SessionKeys::generate().unwrap();
    let agent: AgentIdentity = keys.agent.parse().unwrap();
    let agent = agent.of_version(Version {
        wire: WIRE_VERSION,
        software: "0.0.9".into(),
    });
    for security in [Security::Proof, Security::Tls] {
        let (opened, accepted) = both(&keys.relay, &agent, security).await;
        assert_eq!(opened.unwrap().version.software, "0.0.9");
        accepted.unwrap();
    }
}

#[tokio::test]
async fn unproven_peer_receives_no_byte() {
    let agent = AgentIdentity::from_secret(&secret(1)).unwrap();
    let mut almost = foreign_hello();
    almost[0] = b'K';
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(4).as_slice(),
        &[0; 4096],
        &almost,
    ] {
        let (mut ours, theirs) = streams();
        ours.write_all(garbage).await.unwrap();
        let error = soon(link::accept(boxed(theirs), &agent, Security::Proof))
            .await
            .map(drop)
            .unwrap_err();
        assert!(matches!(error, OpenError::NotKinject), "{error:?}");
        let mut answer = Vec::new();
        soon(ours.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(answer, b"");
    }
}

#[tokio::test]
async fn relay_at_a_server_of_another_protocol_returns_not_kinject() {
    let (ours, mut theirs) = streams();
    theirs
        .write_all(&b"SSH-2.0-OpenSSH_9.9\r\n".repeat(8))
        .await
        .unwrap();
    let relay = RelayIdentity::from_secret(&secret(1)).unwrap();
    let error = soon(Tunnel::open(boxed(ours), &relay, Security::Proof))
        .await
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, OpenError::NotKinject), "{error:?}");
}

#[tokio::test]
async fn replayed_proof_is_refused() {
    let (relay, agent) = (
        RelayIdentity::from_secret(&secret(1)).unwrap(),
        AgentIdentity::from_secret(&secret(1)).unwrap(),
    );
    // A man in the middle records the relay's messages.
    let (ours, mut middle_relay) = streams();
    let (mut middle_agent, theirs) = streams();
    let open = tokio::spawn(async move { link::open(boxed(ours), &relay, Security::Proof).await.map(drop) });
    let accept = tokio::spawn({
        let agent = agent.clone();
        async move {
            link::accept(boxed(theirs), &agent, Security::Proof)
                .await
                .map(drop)
        }
    });
    let (mut opening, mut answer, mut signature) = ([0; HELLO_BYTES + 32], [0; HELLO_BYTES + 96], [0; 64]);
    soon(middle_relay.read_exact(&mut opening)).await.unwrap();
    middle_agent.write_all(&opening).await.unwrap();
    soon(middle_agent.read_exact(&mut answer)).await.unwrap();
    middle_relay.write_all(&answer).await.unwrap();
    soon(middle_relay.read_exact(&mut signature)).await.unwrap();
    middle_agent.write_all(&signature).await.unwrap();
    soon(open).await.unwrap().unwrap();
    soon(accept).await.unwrap().unwrap();

    let (mut ours, theirs) = streams();
    ours.write_all(&[opening.as_slice(), &signature].concat())
        .await
        .unwrap();
    let error = soon(link::accept(boxed(theirs), &agent, Security::Proof))
        .await
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, OpenError::NotProven), "{error:?}");
}

#[tokio::test]
async fn reflected_agent_signature_is_refused() {
    let agent = AgentIdentity::from_secret(&secret(1)).unwrap();
    let (mut ours, theirs) = streams();
    let accept = tokio::spawn(async move {
        link::accept(boxed(theirs), &agent, Security::Proof)
            .await
            .map(drop)
    });
    let mut opening = [0; HELLO_BYTES + 32];
    opening[..HELLO_BYTES].copy_from_slice(&foreign_hello());
    opening[8..10].copy_from_slice(&WIRE_VERSION.to_be_bytes());
    ours.write_all(&opening).await.unwrap();
    let mut answer = [0; HELLO_BYTES + 96];
    soon(ours.read_exact(&mut answer)).await.unwrap();
    // The agent's own signature, sent back.
    ours.write_all(&answer[HELLO_BYTES + 32..]).await.unwrap();
    let error = soon(accept).await.unwrap().unwrap_err();
    assert!(matches!(error, OpenError::NotProven), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn silent_peer_times_out_after_five_seconds() {
    let agent = AgentIdentity::from_secret(&secret(1)).unwrap();
    let relay = RelayIdentity::from_secret(&secret(1)).unwrap();
    let keys = SessionKeys::generate().unwrap();
    let cluster_agent: AgentIdentity = keys.agent.parse().unwrap();

    let start = Instant::now();
    let ((a, _a), (b, _b), (c, _c)) = (streams(), streams(), streams());
    let (a, b, c) = tokio::join!(
        link::accept(boxed(a), &agent, Security::Proof),
        link::accept(boxed(b), &cluster_agent, Security::Tls),
        link::open(boxed(c), &relay, Security::Proof),
    );
    for error in [a.map(drop), b.map(drop), c.map(drop)] {
        assert!(matches!(error, Err(OpenError::TimedOut)), "{error:?}");
    }
    assert_eq!(start.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn proven_relay_that_stays_silent_times_out() {
    let (relay, agent) = (
        RelayIdentity::from_secret(&secret(1)).unwrap(),
        AgentIdentity::from_secret(&secret(1)).unwrap(),
    );
    let (ours, theirs) = streams();
    let (opened, accepted) = tokio::join!(
        link::open(boxed(ours), &relay, Security::Proof),
        link::accept(boxed(theirs), &agent, Security::Proof)
    );
    let (_held, stream) = (opened.unwrap().0, accepted.unwrap().0);
    let start = Instant::now();
    let error = Server::start(stream).await.unwrap_err();
    assert!(matches!(error, OpenError::TimedOut), "{error:?}");
    assert_eq!(start.elapsed(), Duration::from_secs(5));
}
