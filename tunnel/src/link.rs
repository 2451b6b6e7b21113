//! The link: turns a bare transport into a stream between two authenticated ends.
//!
//! A link opens with a proof of the session's key and a hello with wire version and session. Then it is the transport's
//! stream itself. **Resuming a link over a new transport would be implemented here**: numbered bytes, acknowledgements,
//! a bounded replay buffer and reconnecting belong between [`open`]/[`accept`] and HTTP/2, which sees a [`Stream`] in
//! either case; the hello already carries the session to resume.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use crate::hello::{Hello, SessionId, Version};
use crate::keys::{AgentIdentity, RelayIdentity};
use crate::open_error::read_hello;
pub use crate::open_error::{OpenError, PROVE_DEADLINE};
use crate::transport::Stream;
use crate::{proof, tls};

/// How the ends of a link authenticate each other.
///
/// The relay chooses, within what the agent's listener allows. A relay that begins with TLS accepts nothing else, so a
/// man in the middle cannot downgrade it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Signatures, then bytes in clear ([`crate::proof`]): for Unix sockets, and for port-forward, which is TLS on both
    /// of its legs.
    Proof,
    /// Mutual TLS ([`crate::tls`]): for transports that would cross a network in clear, and for all with `--tls
    /// always`.
    Tls,
}

/// Opens the relay's end. Returns the stream for HTTP/2 and the agent's hello.
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

/// Accepts at the agent's end. Returns the stream for HTTP/2 and the relay's hello.
///
/// The relay's first byte selects the authentication; with [`Security::Tls`] only TLS is accepted. A relay of another
/// wire version that begins with its hello in clear gets our version in either case.
pub async fn accept(
    stream: Stream,
    identity: &AgentIdentity,
    least: Security,
) -> Result<(Stream, Hello), OpenError> {
    let accepting = async {
        // The buffer holds one byte; all further bytes bypass it.
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

/// Accepts only TLS, from which an unauthenticated peer learns nothing, not even our version.
pub async fn accept_tls(stream: Stream, identity: &AgentIdentity) -> Result<(Stream, Hello), OpenError> {
    timeout(PROVE_DEADLINE, accept_in_tls(stream, identity))
        .await
        .unwrap_or(Err(OpenError::TimedOut))
}

async fn accept_in_tls(stream: Stream, identity: &AgentIdentity) -> Result<(Stream, Hello), OpenError> {
    let mut stream = tls::accept(stream, identity.tls()).await?;
    // The certificate is verified, so the relay may get our version whatever its own is.
    let hello = read_hello(&mut stream, identity.version()).await;
    let session = match &hello {
        Ok(hello) => hello.session,
        Err(OpenError::Version { .. }) => SessionId::random(),
        Err(_) => return hello.map(|hello| (stream, hello)),
    };
    write_hello(&mut stream, &identity.hello(session)).await?;
    Ok((stream, hello?))
}

/// Refuses a relay that does not begin with TLS. One of another wire version, which may not know that TLS is required,
/// gets our version.
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

/// Asks an agent that does not speak TLS for its wire version: agents of earlier wire versions prove the key in clear.
///
/// The answer is not authenticated: it may only be used to explain a failure.
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
