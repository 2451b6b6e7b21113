//! What the connections of one tunnel have in common.

use h2::{RecvStream, SendStream};

use super::departures::Departures;
use super::receivers::Receivers;
use super::stream::TunnelStream;
use super::windows::{Waiting, Windows};
use crate::line::{Line, Outlet};
use crate::payload::Payload;

/// Clones share it.
#[derive(Clone)]
pub(super) struct Common {
    /// What waits at this end.
    pub(super) waiting: Waiting,
    /// Streams in which this end receives.
    pub(super) receivers: Receivers,
    /// The way out.
    pub(super) line: Line,
    /// Those that were closed a moment ago.
    pub(super) departures: Departures,
}

impl Common {
    pub(super) fn new(windows: &Windows, outlet: &Outlet) -> Self {
        Self {
            waiting: windows.waiting().clone(),
            receivers: windows.receivers().clone(),
            line: outlet.line().clone(),
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
            line: self.line.clone(),
            departures: self.departures.clone(),
        }
    }
}
