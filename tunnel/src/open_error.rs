//! Why a link did not come to be.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use crate::hello::{HELLO_BYTES, Hello, Version};
use crate::transport::Stream;

/// How long an end may take to prove itself.
pub const PROVE_DEADLINE: Duration = Duration::from_secs(5);

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
    /// The other end began without TLS where nothing else is spoken.
    #[error("the other end does not speak TLS, without which nothing is taken here")]
    WithoutTls,
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
