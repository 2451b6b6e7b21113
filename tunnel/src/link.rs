//! The link: from a bare transport to a stream between two ends that know each other.
//!
//! A link opens with a proof of the session's key and a hello that names wire version and session, and then
//! is the transport's stream itself. **This is the seam for a link that outlives its transport**: numbered bytes, acknowledgements, a
//! bounded replay buffer and reconnecting belong between [`open`]/[`accept`] and HTTP/2, which sees a [`Stream`] in
//! either case; the hello already carries the session to resume.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use crate::hello::{Hello, SessionId, Version};
use crate::keys::{AgentIdentity, RelayIdentity};
use crate::open_error::read_hello;
pub use crate::open_error::{OpenError, PROVE_DEADLINE};
use crate::transport::Stream;
use crate::{proof, tls};

/// How the ends of a link prove themselves.
///
/// The relay chooses and the agent follows, within what the agent's listener allows. A relay that begins with TLS gets TLS
/// or nothing: somebody in between has no way to talk it into the weaker one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Signatures, then bytes in clear ([`crate::proof`]): Unix sockets, and port-forward, which is TLS on both of its legs.
    Proof,
    /// Mutual TLS ([`crate::tls`]): what would cross a network in clear, and all of it with `--tls always`.
    Tls,
}

/// Opens the relay's end. Returns the stream for HTTP/2 and what the agent said about itself.
pub async fn open(
    stream: Stream,
    identity: &RelayIdentity,
    security: Security,
) -> Result<(Stream, Hello), OpenError> {
    let opening = async {
        let mut stream = stream;
        match security {
            Security::Proof => {
                let hello = proof::open(&mut stream, identity).await?;
                Ok((stream, hello))
            }
            Security::Tls => {
                let mut stream = tls::open(stream, identity.tls()).await?;
                write_hello(&mut stream, &Hello::new(identity.session())).await?;
                let hello = read_hello(&mut stream, &Version::own()).await?;
                Ok((stream, hello))
            }
        }
    };
    timeout(PROVE_DEADLINE, opening)
        .await
        .unwrap_or(Err(OpenError::TimedOut))
}

/// Accepts at the agent's end. Returns the stream for HTTP/2 and what the relay said about itself.
///
/// The relay's first byte tells how it wants to prove itself; with [`Security::Tls`] nothing else is accepted. A relay of
/// another wire version that begins with its hello in clear learns ours either way.
pub async fn accept(
    stream: Stream,
    identity: &AgentIdentity,
    least: Security,
) -> Result<(Stream, Hello), OpenError> {
    let accepting = async {
        // One byte is looked at; everything behind it passes the buffer by.
        let mut stream = BufReader::with_capacity(1, stream);
        let first = stream.fill_buf().await?.first().copied();
        match (first, least) {
            (None, _) => Err(OpenError::Closed),
            (Some(tls::HANDSHAKE), _) => accept_in_tls(Box::new(stream), identity).await,
            (Some(_), Security::Proof) => {
                let mut stream: Stream = Box::new(stream);
                let hello = proof::accept(&mut stream, identity).await?;
                Ok((stream, hello))
            }
            (Some(_), Security::Tls) => refuse_without_tls(Box::new(stream), identity).await,
        }
    };
    timeout(PROVE_DEADLINE, accepting)
        .await
        .unwrap_or(Err(OpenError::TimedOut))
}

/// Accepts TLS alone, from which a stranger learns nothing, not even our version.
pub async fn accept_tls(stream: Stream, identity: &AgentIdentity) -> Result<(Stream, Hello), OpenError> {
    timeout(PROVE_DEADLINE, accept_in_tls(stream, identity))
        .await
        .unwrap_or(Err(OpenError::TimedOut))
}

async fn accept_in_tls(stream: Stream, identity: &AgentIdentity) -> Result<(Stream, Hello), OpenError> {
    let mut stream = tls::accept(stream, identity.tls()).await?;
    // The certificate is verified, so the relay may know our version before we look at its own.
    let hello = read_hello(&mut stream, identity.version()).await;
    let session = match &hello {
        Ok(hello) => hello.session,
        Err(OpenError::Version { .. }) => SessionId::random(),
        Err(_) => return hello.map(|hello| (stream, hello)),
    };
    write_hello(&mut stream, &identity.hello(session)).await?;
    Ok((stream, hello?))
}

/// A relay of another wire version, which may not know that TLS is spoken here, is told our version.
async fn refuse_without_tls(
    mut stream: Stream,
    identity: &AgentIdentity,
) -> Result<(Stream, Hello), OpenError> {
    match read_hello(&mut stream, identity.version()).await {
        Ok(_) => Err(OpenError::WithoutTls),
        Err(error @ OpenError::Version { .. }) => {
            write_hello(&mut stream, &identity.hello(SessionId::random())).await?;
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// Asks an agent that does not speak TLS whether it is of another wire version, as those are that prove the key in clear.
///
/// The answer comes from whoever is there: it explains a failure, and nothing else may depend on it.
pub async fn other_version(mut stream: Stream, identity: &RelayIdentity) -> Option<OpenError> {
    let asking = async {
        write_hello(&mut stream, &Hello::new(identity.session())).await?;
        read_hello(&mut stream, &Version::own()).await
    };
    match timeout(PROVE_DEADLINE, asking).await {
        Ok(Err(error @ OpenError::Version { .. })) => Some(error),
        _ => None,
    }
}

async fn write_hello(stream: &mut Stream, hello: &Hello) -> Result<(), OpenError> {
    stream.write_all(&hello.encode()).await?;
    stream.flush().await?;
    Ok(())
}
