//! The link: from a bare transport to a stream between two ends that know each other.
//!
//! A link opens with a proof of the session's key and a hello that names wire version and session, and then
//! is the transport's stream itself. **This is the seam for a link that outlives its transport**: numbered bytes, acknowledgements, a
//! bounded replay buffer and reconnecting belong between [`open`]/[`accept`] and HTTP/2, which sees a [`Stream`] in
//! either case; the hello already carries the session to resume.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::hello::{HELLO_BYTES, Hello, SessionId, Version};
use crate::keys::{AgentIdentity, RelayIdentity};
use crate::transport::Stream;
use crate::{proof, tls};

/// How long an end may take to prove itself.
pub const PROVE_DEADLINE: Duration = Duration::from_secs(5);

/// How the ends of a link prove themselves. The transport decides, at both ends in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Signatures, then bytes in clear ([`crate::proof`]): direct transports and port-forward.
    Proof,
    /// Mutual TLS ([`crate::tls`]): the pod's address.
    Tls,
}

/// A link that did not come to be.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The transport failed.
    #[error("the connection failed: {0}")]
    Io(io::Error),
    /// The other end did not prove itself in time.
    #[error("the other end did not prove itself within {} seconds", PROVE_DEADLINE.as_secs())]
    TimedOut,
    /// The other end closed in the middle of the proof, as it does when it is not satisfied.
    #[error("the other end closed the connection before both had proven themselves")]
    Closed,
    /// The other end speaks something else.
    #[error("the other end does not speak kinject's protocol")]
    NotKinject,
    /// The ends are too far apart in version.
    #[error("this end is version {ours} and the other end is version {theirs}, which cannot work together")]
    Version {
        /// This end's.
        ours: Version,
        /// The other end's.
        theirs: Version,
    },
    /// The other end does not hold the session's key.
    #[error("the other end does not hold the same key")]
    NotProven,
    /// TLS failed, which covers a wrong certificate.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// TLS was asked for with an identity that has no certificate.
    #[error("this session has no certificate for TLS")]
    NoCertificate,
    /// HTTP/2 could not begin.
    #[error("HTTP/2 failed: {0}")]
    Http2(String),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => OpenError::Closed,
            _ => OpenError::Io(error),
        }
    }
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
                let config = identity.tls().ok_or(OpenError::NoCertificate)?;
                let mut stream = tls::open(stream, config).await?;
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
pub async fn accept(
    stream: Stream,
    identity: &AgentIdentity,
    security: Security,
) -> Result<(Stream, Hello), OpenError> {
    let accepting = async {
        let mut stream = stream;
        match security {
            Security::Proof => {
                let hello = proof::accept(&mut stream, identity).await?;
                Ok((stream, hello))
            }
            Security::Tls => {
                let config = identity.tls().ok_or(OpenError::NoCertificate)?;
                let mut stream = tls::accept(stream, config).await?;
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
        }
    };
    timeout(PROVE_DEADLINE, accepting)
        .await
        .unwrap_or(Err(OpenError::TimedOut))
}

async fn write_hello(stream: &mut Stream, hello: &Hello) -> Result<(), OpenError> {
    stream.write_all(&hello.encode()).await?;
    stream.flush().await?;
    Ok(())
}

/// Reads a hello and insists on our wire version.
pub(crate) async fn read_hello(stream: &mut Stream, ours: &Version) -> Result<Hello, OpenError> {
    let mut bytes = [0; HELLO_BYTES];
    stream.read_exact(&mut bytes).await?;
    let hello = Hello::decode(&bytes).ok_or(OpenError::NotKinject)?;
    if hello.version.wire == ours.wire {
        return Ok(hello);
    }
    Err(OpenError::Version {
        ours: ours.clone(),
        theirs: hello.version,
    })
}
