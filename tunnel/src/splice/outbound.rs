//! From the socket into the tunnel.
//!
//! ```text
//!             bytes
//!            ┌─────┐
//!            ▼     │      FIN               both directions have ended
//!          reading ┴───────────▶ finished ──────────────────▶ (the caller stops polling)
//!            │  ▲                   │
//!  no window │  │ window            │ the socket failed
//!            ▼  │                   ▼
//!          blocked ───────────▶ aborting ──▶ RST_STREAM
//! ```

use std::future::{Future, pending, poll_fn};
use std::io;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use tokio::io::Interest;
use tokio::net::tcp::ReadHalf;
use tokio::time::timeout;

use super::block::{self, MAX_READ_BYTES, READ_BYTES};
use super::{Shared, SpliceEnd, orphan, stream_end, yield_before_close};
use crate::coop::yield_to_ready;
use crate::payload::Payload;
use crate::send_scheduler::{Permit, PermitWaiter, SendScheduler};

/// How long the bytes before a reset may take to be written. A peer that stalls for longer loses them, as in TCP.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

enum Step {
    /// Bytes were read, with the permit if they needed one; none at the end of the stream.
    Read(Bytes, Option<Permit>),
    /// The socket is readable, but the stream has no window.
    NoWindow,
    /// The socket is readable, but the send scheduler has no permit left.
    NoPermit,
    /// The stream was reset by the other end.
    StreamEnded(SpliceEnd),
    /// The other end closed the connection in order, but bytes still wait for the socket.
    Orphaned,
    Failed(io::Error),
}

/// The program has closed its socket, and all its bytes were written to the tunnel. One RST_STREAM that closes both
/// directions is still to be sent.
pub(super) struct Closed;

/// Runs until the connection has to end; an error is how it ended if it was not closed. After the socket's FIN it sets
/// `shared.outbound_done` and watches the socket for errors while the other direction continues.
pub(super) async fn run(
    mut read: ReadHalf<'_>,
    send: &mut SendStream<Payload>,
    scheduler: &SendScheduler,
    shared: &Shared,
    is_closed: impl Fn() -> bool,
    recheck: impl Future<Output = ()>,
    sent: &mut u64,
) -> Result<Closed, SpliceEnd> {
    let mut reading = Reading::new(scheduler);
    loop {
        let step = poll_fn(|cx| reading.poll_step(cx, &mut read, send, shared)).await;
        match step {
            Step::Read(bytes, _) if bytes.is_empty() => break,
            Step::Read(bytes, permit) => {
                let count = bytes.len();
                *sent += count as u64;
                reading.adapt(count);
                let block = Payload::tracked(bytes, &shared.flight).with_permit(permit);
                if send.send_data(block, false).is_err() {
                    return Err(ended(&read, send, shared).await);
                }
                shared.close_coalescer.flush();
                if count >= READ_BYTES {
                    // Lets the connection's task, which runs last in a turn, write the block while it is in the
                    // processor's cache.
                    yield_to_ready().await;
                    yield_to_ready().await;
                }
            }
            Step::NoWindow => wait_for_window(&read, send, shared).await?,
            Step::NoPermit => {
                reading.permit = wait_for_permit(&mut reading.waiter, &read, send, shared).await?
            }
            Step::StreamEnded(end) => return Err(end),
            Step::Orphaned => {
                drop(reading);
                return Err(orphaned(&read, shared).await);
            }
            Step::Failed(error) => return Err(abort(send, shared, error.kind()).await),
        }
    }
    if shared.write_failed.load(Ordering::Relaxed) {
        // The socket was reset while bytes were written to it.
        return Err(abort(send, shared, io::ErrorKind::ConnectionReset).await);
    }
    // Closes are scheduled after connects.
    yield_before_close().await;
    if !is_closed() {
        let end = Payload::tracked(Bytes::new(), &shared.flight);
        if send.send_data(end, true).is_err() {
            return Err(ended(&read, send, shared).await);
        }
        shared.outbound_done.store(true, Ordering::Relaxed);
        let closed_at_recheck = async {
            recheck.await;
            if !is_closed() {
                pending().await
            }
        };
        tokio::select! {
            kind = socket_failed(&read, shared) => return Err(abort(send, shared, kind).await),
            () = closed_at_recheck => {}
        }
    }
    // RST_STREAM discards bytes that are still queued.
    tokio::select! {
        biased;
        () = poll_fn(|cx| shared.flight.poll_flushed(cx)) => Ok(Closed),
        kind = socket_failed(&read, shared) => Err(abort(send, shared, kind).await),
    }
}

/// The state of reading the socket.
struct Reading {
    /// Maximum bytes of the next read.
    size: usize,
    /// The last read filled a block, so the next one needs a permit.
    filled_a_block: bool,
    /// Window of the stream is reserved for the next read.
    reserved: bool,
    waiter: PermitWaiter,
    /// The permit for the next read, if it needs one and has it.
    permit: Option<Permit>,
}

impl Reading {
    fn new(scheduler: &SendScheduler) -> Self {
        Self {
            size: READ_BYTES,
            filled_a_block: false,
            reserved: false,
            waiter: scheduler.waiter(),
            permit: None,
        }
    }

    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        read: &mut ReadHalf<'_>,
        send: &mut SendStream<Payload>,
        shared: &Shared,
    ) -> Poll<Step> {
        if let Poll::Ready(reset) = poll_reset(cx, send, shared) {
            let orphaned = reset.is_ok() && !shared.inbound_done.load(Ordering::Relaxed);
            return Poll::Ready(match orphaned {
                true => Step::Orphaned,
                false => Step::StreamEnded(reset_end(reset)),
            });
        }
        let readable = read.as_ref().poll_read_ready(cx);
        if readable.is_pending() && self.reserved {
            // Window that is reserved while idle would be missing elsewhere.
            send.reserve_capacity(0);
            self.reserved = false;
        }
        if let Err(error) = ready!(readable) {
            return Poll::Ready(Step::Failed(error));
        }
        let permit = self.permit.take();
        if self.filled_a_block && permit.is_none() {
            return Poll::Ready(Step::NoPermit);
        }
        send.reserve_capacity(self.size);
        self.reserved = true;
        let window = send.capacity();
        if window == 0 {
            return Poll::Ready(Step::NoWindow);
        }
        match block::poll_read(read, cx, window.min(self.size)) {
            Poll::Pending => {
                send.reserve_capacity(0);
                self.reserved = false;
                Poll::Pending
            }
            Poll::Ready(Ok(bytes)) => Poll::Ready(Step::Read(bytes, permit)),
            Poll::Ready(Err(error)) => Poll::Ready(Step::Failed(error)),
        }
    }

    /// Reads more at once while the socket fills every read: fewer system calls and wake-ups for the same bytes.
    fn adapt(&mut self, count: usize) {
        self.filled_a_block = count >= READ_BYTES;
        let most = self.waiter.block_size().clamp(READ_BYTES, MAX_READ_BYTES);
        self.size = match () {
            () if !self.filled_a_block => READ_BYTES,
            () if count == self.size => (self.size * 2).min(most),
            () if count < self.size / 2 => (self.size / 2).clamp(READ_BYTES, most),
            () => self.size.min(most),
        };
    }
}

/// Waits for a permit of the send scheduler; none if the stream was reset. The socket is not read meanwhile, so its
/// errors are watched for.
async fn wait_for_permit(
    waiter: &mut PermitWaiter,
    read: &ReadHalf<'_>,
    send: &mut SendStream<Payload>,
    shared: &Shared,
) -> Result<Option<Permit>, SpliceEnd> {
    let kind = tokio::select! {
        biased;
        permit = poll_fn(|cx| waiter.poll_permit(cx)) => return Ok(Some(permit)),
        _ = poll_fn(|cx| poll_reset(cx, send, shared)) => return Ok(None),
        kind = socket_failed(read, shared) => kind,
    };
    waiter.cancel();
    Err(abort(send, shared, kind).await)
}

/// Ready when the other end has reset the stream. While the stream is open, the inbound direction notices a reset.
fn poll_reset(
    cx: &mut Context<'_>,
    send: &mut SendStream<Payload>,
    shared: &Shared,
) -> Poll<Result<Reason, h2::Error>> {
    match shared.inbound_complete.load(Ordering::Relaxed) {
        true => send.poll_reset(cx),
        false => Poll::Pending,
    }
}

/// Waits for window of the stream. The socket is not read meanwhile, so its errors are watched for.
async fn wait_for_window(
    read: &ReadHalf<'_>,
    send: &mut SendStream<Payload>,
    shared: &Shared,
) -> Result<(), SpliceEnd> {
    let failed = tokio::select! {
        biased;
        window = poll_fn(|cx| send.poll_capacity(cx)) => match window {
            Some(Ok(_)) => return Ok(()),
            Some(Err(error)) => return Err(stream_end(&error)),
            None => None,
        },
        kind = socket_failed(read, shared) => Some(kind),
    };
    Err(match failed {
        Some(kind) => abort(send, shared, kind).await,
        None => ended(read, send, shared).await,
    })
}

/// Waits until the socket has failed, without reading it.
async fn socket_failed(read: &ReadHalf<'_>, shared: &Shared) -> io::ErrorKind {
    let error = read.ready(Interest::ERROR);
    tokio::pin!(error);
    poll_fn(|cx| {
        // A failed write has cleared the socket's error.
        if shared.write_failed.load(Ordering::Relaxed) {
            return Poll::Ready(io::ErrorKind::ConnectionReset);
        }
        ready!(error.as_mut().poll(cx)).map_or_else(
            |error| Poll::Ready(error.kind()),
            |_| Poll::Ready(io::ErrorKind::ConnectionReset),
        )
    })
    .await
}

/// Resets the stream after the queued bytes were written.
async fn abort(send: &mut SendStream<Payload>, shared: &Shared, kind: io::ErrorKind) -> SpliceEnd {
    // A reset from the other end drops the queued bytes, which ends the wait as well.
    let _ = timeout(FLUSH_TIMEOUT, poll_fn(|cx| shared.flight.poll_flushed(cx))).await;
    send.send_reset(Reason::CONNECT_ERROR);
    SpliceEnd::SocketFailed(kind)
}

/// Continues until the inbound direction has written all bytes to the socket, its reader stalls, or the socket fails.
async fn orphaned(read: &ReadHalf<'_>, shared: &Shared) -> SpliceEnd {
    shared.outbound_done.store(true, Ordering::Relaxed);
    tokio::select! {
        () = orphan::stalled(read.as_ref(), shared) => SpliceEnd::StreamReset,
        kind = socket_failed(read, shared) => SpliceEnd::SocketFailed(kind),
    }
}

/// How the connection ends after the stream refused data.
async fn ended(read: &ReadHalf<'_>, send: &mut SendStream<Payload>, shared: &Shared) -> SpliceEnd {
    match poll_fn(|cx| send.poll_reset(cx)).await {
        Ok(Reason::NO_ERROR) if !shared.inbound_done.load(Ordering::Relaxed) => orphaned(read, shared).await,
        reset => reset_end(reset),
    }
}

fn reset_end(reset: Result<Reason, h2::Error>) -> SpliceEnd {
    match reset {
        // sent in place of END_STREAM
        Ok(Reason::NO_ERROR) => SpliceEnd::Finished,
        Ok(_) => SpliceEnd::StreamReset,
        Err(error) => stream_end(&error),
    }
}
