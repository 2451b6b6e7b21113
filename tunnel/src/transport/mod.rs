//! Transports: byte streams to the agent.
//!
//! Direct transports (`unix:PATH`, `tcp:HOST:PORT`) are implemented here. Those through a Kubernetes API server need a
//! Kubernetes client and are implemented in the relay; they produce a [`Stream`] as well.

mod endpoint;
mod listener;

pub use endpoint::{Endpoint, EndpointError};
pub use listener::{Listener, Peer};

use tokio::io::{AsyncRead, AsyncWrite};

/// The requirements on a transport: a byte stream that a task can own.
///
/// Vectored writes matter (HTTP/2 writes a frame's header and its payload in one system call), so a wrapper should pass
/// on `poll_write_vectored` and `is_write_vectored`. The `Box` of [`Stream`] does.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> ByteStream for T {}

/// A transport of any kind. The dynamic dispatch costs two indirect calls for each frame, which is not measurable
/// beside their system calls.
pub type Stream = Box<dyn ByteStream>;
