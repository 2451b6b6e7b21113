//! Why a link could not be opened.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use crate::hello::{HELLO_BYTES, Hello, Version};
use crate::transport::Stream;

/// How long an end may take to authenticate itself.
pub const PROVE_DEADLINE: Duration = Duration::from_secs(5);

/// The error of a link that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The transport failed.
    #[error("the connection failed: {0}")]
    Io(io::Error),
    /// The other end did not authenticate itself in time.
    #[error("the other end did not prove itself within {} seconds", PROVE_DEADLINE.as_secs())]
    TimedOut,
    /// The other end closed the connection during the proof, as it does when the proof fails.
    #[error("the other end closed the connection before both had proven themselves")]
    Closed,
    /// The other end speaks another protocol.
    #[error("the other end does not speak kinject's protocol")]
    NotKinject,
    /// The ends have different wire versions.
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
    /// The other end began without TLS where TLS is required.
    #[error("the other end does not speak TLS, without which nothing is taken here")]
    WithoutTls,
    /// The HTTP/2 handshake failed.
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

/// Reads a hello; fails unless it has our wire version.
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
