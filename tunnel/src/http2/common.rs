//! What the connections of one tunnel have in common.

use h2::{RecvStream, SendStream};

use super::departures::Departures;
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
    /// Those that were closed a moment ago.
    pub(super) departures: Departures,
}

impl Common {
    pub(super) fn new(windows: &Windows, driver: &SchedulerDriver) -> Self {
        Self {
            waiting: windows.waiting().clone(),
            receivers: windows.receivers().clone(),
            scheduler: driver.scheduler().clone(),
            departures: Departures::default(),
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
            departures: self.departures.clone(),
        }
    }
}
