//! Transports: a byte stream to the agent, whatever carries it.
//!
//! Direct transports (`unix:PATH`, `tcp:HOST:PORT`) live here. Those through a Kubernetes API server need a
//! Kubernetes client and live in the relay; they hand over a [`Stream`] like any other.

mod endpoint;
mod listener;

pub use endpoint::{Endpoint, EndpointError};
pub use listener::{Listener, Peer};

use tokio::io::{AsyncRead, AsyncWrite};

/// What a transport has to be: a byte stream that a task can own.
///
/// Vectored writes matter (HTTP/2 writes a frame's head and its payload in one system call), so a wrapper should
/// pass `poll_write_vectored` and `is_write_vectored` on. The `Box` of [`Stream`] does.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> ByteStream for T {}

/// A transport of any kind. The dynamic dispatch costs two indirect calls for each frame, which is not measurable
/// next to the system calls behind them.
pub type Stream = Box<dyn ByteStream>;
