//! What the connections of one tunnel have in common.

use h2::{RecvStream, SendStream};

use super::close_coalescer::CloseCoalescer;
use super::receivers::Receivers;
use super::stream::TunnelStream;
use super::windows::{Waiting, Windows};
use crate::payload::Payload;
use crate::send_scheduler::{SchedulerDriver, SendScheduler};

/// Clones share it.
#[derive(Clone)]
pub(super) struct Common {
    /// What waits at this end.
    pub(super) waiting: Waiting,
    /// Streams in which this end receives.
    pub(super) receivers: Receivers,
    /// Who may queue large blocks.
    pub(super) scheduler: SendScheduler,
    /// Delays the closes of streams.
    pub(super) close_coalescer: CloseCoalescer,
}

impl Common {
    pub(super) fn new(windows: &Windows, driver: &SchedulerDriver) -> Self {
        Self {
            waiting: windows.waiting().clone(),
            receivers: windows.receivers().clone(),
            scheduler: driver.scheduler().clone(),
            close_coalescer: CloseCoalescer::default(),
        }
    }

    /// A connection that stands.
    pub(super) fn stream(&self, send: SendStream<Payload>, mut recv: RecvStream) -> TunnelStream {
        TunnelStream {
            receiver: self.receivers.enlist(&mut recv),
            send,
            recv,
            waiting: self.waiting.share(),
            scheduler: self.scheduler.clone(),
            close_coalescer: self.close_coalescer.clone(),
        }
    }
}
