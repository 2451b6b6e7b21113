//! State that the connections of one tunnel share.

use h2::{RecvStream, SendStream};

use super::close_coalescer::CloseCoalescer;
use super::receivers::Receivers;
use super::stream::TunnelStream;
use super::windows::{UnreadBytes, Windows};
use crate::payload::Payload;
use crate::send_scheduler::{SchedulerDriver, SendScheduler};

/// Clones share the state.
#[derive(Clone)]
pub(super) struct Common {
    /// Bytes that this end has received and not yet written to sockets.
    pub(super) unread: UnreadBytes,
    /// Streams on which this end receives.
    pub(super) receivers: Receivers,
    /// Grants permits to queue large blocks.
    pub(super) scheduler: SendScheduler,
    /// Delays the closes of streams.
    pub(super) close_coalescer: CloseCoalescer,
}

impl Common {
    pub(super) fn new(windows: &Windows, driver: &SchedulerDriver) -> Self {
        Self {
            unread: windows.unread().clone(),
            receivers: windows.receivers().clone(),
            scheduler: driver.scheduler().clone(),
            close_coalescer: CloseCoalescer::default(),
        }
    }

    /// An established connection.
    pub(super) fn stream(&self, send: SendStream<Payload>, mut recv: RecvStream) -> TunnelStream {
        TunnelStream {
            receiver: self.receivers.register(&mut recv),
            send,
            recv,
            unread: self.unread.share(),
            scheduler: self.scheduler.clone(),
            close_coalescer: self.close_coalescer.clone(),
        }
    }
}
