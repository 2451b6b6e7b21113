//! The payload of a DATA frame, which reports when it was written.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

use crate::send_scheduler::{Permit, UsedPermit};

/// Bytes that are queued for the tunnel, counted by their stream until they are written.
///
/// A stream's RST_STREAM overtakes the bytes that are queued before it. A caller that needs them to arrive first waits
/// for [`InFlight::poll_flushed`].
#[derive(Debug, Default)]
pub(crate) struct Payload {
    bytes: Bytes,
    flight: Option<Arc<InFlight>>,
    /// The permit with which it is queued, if it is large.
    permit: Option<UsedPermit>,
}

/// How many payloads of one stream are queued.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    queued: AtomicUsize,
    waiting: Mutex<Option<Waker>>,
}

impl Payload {
    /// Bytes that are not counted.
    pub(crate) fn untracked(bytes: Bytes) -> Self {
        Payload {
            bytes,
            flight: None,
            permit: None,
        }
    }

    /// Bytes that are counted until they are written or dropped.
    pub(crate) fn tracked(bytes: Bytes, flight: &Arc<InFlight>) -> Self {
        flight.queued.fetch_add(1, Ordering::Relaxed);
        Payload {
            bytes,
            flight: Some(Arc::clone(flight)),
            permit: None,
        }
    }

    /// The same bytes, queued with a permit of the send scheduler.
    pub(crate) fn with_permit(mut self, permit: Option<Permit>) -> Self {
        self.permit = permit.and_then(Permit::consume);
        self
    }
}

impl InFlight {
    /// Whether nothing is queued.
    pub(crate) fn is_flushed(&self) -> bool {
        self.queued.load(Ordering::Acquire) == 0
    }

    /// Ready when nothing is queued any more. Wakes only the last caller.
    pub(crate) fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_flushed() {
            return Poll::Ready(());
        }
        *waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        let Some(flight) = self.flight.take() else { return };
        if flight.queued.fetch_sub(1, Ordering::AcqRel) == 1 {
            let waiter = flight
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(waiter) = waiter {
                waiter.wake();
            }
        }
    }
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test]
    async fn is_flushed_when_the_last_payload_is_dropped() {
        let flight = Arc::new(InFlight::default());
        poll_fn(|cx| flight.poll_flushed(cx)).await;
        let (first, second) = (
            Payload::tracked(Bytes::new(), &flight),
            Payload::tracked(Bytes::from_static(b"x"), &flight),
        );
        let waiter = tokio::spawn({
            let flight = Arc::clone(&flight);
            async move { poll_fn(|cx| flight.poll_flushed(cx)).await }
        });
        tokio::task::yield_now().await;
        drop(second);
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        drop(first);
        waiter.await.unwrap();
    }
}
