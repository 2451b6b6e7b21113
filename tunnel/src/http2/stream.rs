//! One connection through the tunnel.

use std::fmt;

use h2::{RecvStream, SendStream};

use super::close_coalescer::CloseCoalescer;
use super::receivers::Receiver;
use super::windows::UnreadShare;
use crate::payload::Payload;
use crate::send_scheduler::SendScheduler;

/// The two directions of a connection. Dropping it resets the stream with CANCEL, unless both directions have ended.
pub struct TunnelStream {
    pub(crate) send: SendStream<Payload>,
    pub(crate) recv: RecvStream,
    pub(crate) receiver: Receiver,
    /// Bytes of the connection that wait for this end's socket.
    pub(crate) unread: UnreadShare,
    /// Grants permits to queue large blocks; shared with the tunnel's other connections.
    pub(crate) scheduler: SendScheduler,
    /// Sends the stream's RST_STREAM once the connection is closed.
    pub(crate) close_coalescer: CloseCoalescer,
}

impl TunnelStream {
    /// Cancels the connection: the other end receives RST_STREAM with CANCEL.
    pub fn reset(mut self) {
        self.send.send_reset(h2::Reason::CANCEL);
    }
}

impl fmt::Debug for TunnelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelStream")
            .field("id", &self.recv.stream_id())
            .finish()
    }
}
