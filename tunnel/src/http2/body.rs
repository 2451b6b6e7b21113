//! Bodies that are sent or read in pieces, of answers that are too large to be held whole.

use std::fmt;
use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};

use super::RequestError;
use super::exchange::lost;
use super::receivers::{Receiver, Receivers};
use crate::payload::Payload;
use crate::send_scheduler::{PermitWaiter, SendScheduler};

/// A piece that is larger than this needs a permit of the send scheduler.
const SMALL: usize = 64 * 1024;

/// The other end has cancelled the request, or the tunnel is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled;

/// Sends the body of an answer in pieces. Dropping it resets the stream, so that the other end does not take what it
/// has for the whole.
pub struct BodySender {
    send: SendStream<Payload>,
    waiter: PermitWaiter,
}

impl BodySender {
    pub(super) fn new(send: SendStream<Payload>, scheduler: &SendScheduler) -> Self {
        Self {
            send,
            waiter: scheduler.waiter(),
        }
    }

    /// Sends a piece, as fast as the other end reads and other streams allow.
    pub async fn send(&mut self, mut piece: Bytes) -> Result<(), Cancelled> {
        while !piece.is_empty() {
            let most = piece.len().min(self.waiter.block_size());
            self.send.reserve_capacity(most);
            if self.send.capacity() == 0 {
                match poll_fn(|cx| self.send.poll_capacity(cx)).await {
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return Err(Cancelled),
                }
            }
            let permit = match most > SMALL {
                true => Some(poll_fn(|cx| self.waiter.poll_permit(cx)).await),
                false => None,
            };
            let block = piece.split_to(most.min(self.send.capacity()));
            self.send
                .send_data(Payload::untracked(block).with_permit(permit), false)
                .map_err(|_| Cancelled)?;
        }
        Ok(())
    }

    /// Ends the body.
    pub fn finish(mut self) {
        // it fails only if the other end has cancelled the request
        let _ = self.send.send_data(Payload::untracked(Bytes::new()), true);
    }

    /// Reports that the rest of the body cannot be had.
    pub fn abort(mut self) {
        self.send.send_reset(Reason::INTERNAL_ERROR);
    }

    /// Waits until the other end cancels the request. Cancel-safe.
    pub async fn cancelled(&mut self) {
        // an error means that the tunnel has ended, and the request with it
        let _ = poll_fn(|cx| self.send.poll_reset(cx)).await;
    }
}

impl fmt::Debug for BodySender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodySender")
    }
}

/// Reads the body of an answer in pieces; the other end sends no more than a window ahead of the reader.
pub struct BodyReader {
    recv: RecvStream,
    received: BytesMut,
    _receiver: Receiver,
}

impl BodyReader {
    pub(super) fn new(mut recv: RecvStream, receivers: &Receivers) -> Self {
        Self {
            _receiver: receivers.register(&mut recv),
            recv,
            received: BytesMut::new(),
        }
    }

    /// The next piece; none at the end. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RequestError> {
        if !self.received.is_empty() {
            return Ok(Some(self.received.split().freeze()));
        }
        self.next_frame().await
    }

    /// What was received and not taken yet.
    pub(super) fn received(&mut self) -> &mut BytesMut {
        &mut self.received
    }

    /// Receives another piece; false at the end of the body. Cancel-safe.
    pub(super) async fn receive(&mut self) -> Result<bool, RequestError> {
        let frame = self.next_frame().await?;
        if let Some(frame) = &frame {
            self.received.extend_from_slice(frame);
        }
        Ok(frame.is_some())
    }

    /// The next `count` bytes.
    pub(super) async fn exact(&mut self, count: usize) -> Result<Bytes, RequestError> {
        while self.received.len() < count {
            if !self.receive().await? {
                return Err(RequestError::BadAnswer("it ends early".into()));
            }
        }
        Ok(self.received.split_to(count).freeze())
    }

    async fn next_frame(&mut self) -> Result<Option<Bytes>, RequestError> {
        let frame = self.recv.data().await.transpose().map_err(lost)?;
        if let Some(frame) = &frame {
            let flow = self.recv.flow_control();
            flow.release_capacity(frame.len()).map_err(lost)?;
        }
        Ok(frame)
    }
}

impl fmt::Debug for BodyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BodyReader").field(&self.recv.stream_id()).finish()
    }
}
