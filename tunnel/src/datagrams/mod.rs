//! Joins a connected UDP socket with a stream of the tunnel: CONNECT-UDP (RFC 9298) over HTTP/2 (RFC 8441).
//!
//! Relay and agent use it alike: the socket's peer is the program's socket at one end and the service's at the other.
//!
//! **Boundaries and order.** Each datagram is a capsule of its own (`capsule`), in the order in which it arrived. None
//! is merged, split or sent twice.
//!
//! **Overload drops datagrams.** A socket is read only while its stream has window, so further datagrams stay in the
//! socket's buffer, and the kernel drops those that do not fit there. A blocked stream does not block another.
//!
//! **Refusals.** An ICMP error on a connected socket, such as "port unreachable", ends the stream with RST_STREAM
//! (CONNECT_ERROR), after the datagrams that were received before it. The relay reports it to the program and opens
//! another stream for its next datagram.

mod batch;
pub(crate) mod capsule;
mod halves;

pub use halves::{DatagramReceiver, DatagramSender};

use std::future::poll_fn;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use crate::dial_error::DialError;
use crate::http2::{DatagramStream, Receiving};
use crate::payload::{InFlight, Payload};
use capsule::{Decoder, MOST_HEADER, MOST_PAYLOAD};

/// Window that a stream must have before its socket is read: the longest datagram.
const LEAST_ROOM: usize = MOST_PAYLOAD + MOST_HEADER;

/// Bytes of one stream that may be queued for writing: a longer queue would only delay datagrams.
const MOST_QUEUED: usize = 4 * LEAST_ROOM;

/// Why a flow of datagrams ended.
#[derive(Debug)]
pub enum DatagramsEnd {
    /// No datagram was carried within the caller's idle timeout.
    Idle,
    /// The other end closed the stream.
    Finished,
    /// The other end could not open its socket, or its socket was refused.
    Refused(DialError),
    /// The socket at this end was refused, or failed.
    SocketFailed(io::Error),
    /// The tunnel is lost.
    TunnelLost,
}

/// Carries datagrams in both directions until either side ends, or none was carried for `idle_timeout`.
///
/// The socket has to be connected. Dropping the future closes neither socket nor stream: both belong to the caller.
pub async fn carry(socket: &UdpSocket, stream: &mut DatagramStream, idle_timeout: Duration) -> DatagramsEnd {
    let activity = Activity::new();
    let DatagramStream {
        send,
        receiving,
        flight,
    } = stream;
    tokio::select! {
        end = inbound(socket, receiving, &activity) => end,
        end = outbound(socket, send, flight, &activity) => end,
        () = activity.wait_until_idle(idle_timeout) => DatagramsEnd::Idle,
    }
}

/// When a datagram was last carried.
struct Activity {
    began: Instant,
    /// Milliseconds since then.
    last: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    fn note(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    async fn wait_until_idle(&self, idle_timeout: Duration) {
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let end = self.began + last + idle_timeout;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// From the tunnel to the socket's peer.
async fn inbound(socket: &UdpSocket, receiving: &mut Receiving, activity: &Activity) -> DatagramsEnd {
    let stream = match receiving.opened().await {
        Ok(stream) => stream,
        Err(error) => return DatagramsEnd::from(error),
    };
    activity.note();
    let mut decoder = Decoder::default();
    let mut datagrams = Vec::with_capacity(batch::MOST);
    loop {
        let bytes = match stream.data().await {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => return DatagramsEnd::from(DialError::from_reset(&error)),
            None => return DatagramsEnd::Finished,
        };
        // the socket drops datagrams that its buffer cannot hold, so the window is returned at once
        if stream.flow_control().release_capacity(bytes.len()).is_err() {
            return DatagramsEnd::TunnelLost;
        }
        activity.note();
        decoder.push(bytes);
        loop {
            match decoder.next() {
                Ok(Some(datagram)) => datagrams.push(datagram),
                Ok(None) => break,
                Err(error) => return DatagramsEnd::Refused(DialError::Other(error.to_string())),
            }
            if datagrams.len() == batch::MOST
                && let Err(error) = send_all(socket, &mut datagrams).await
            {
                return DatagramsEnd::SocketFailed(error);
            }
        }
        if let Err(error) = send_all(socket, &mut datagrams).await {
            return DatagramsEnd::SocketFailed(error);
        }
    }
}

async fn send_all(socket: &UdpSocket, datagrams: &mut Vec<Bytes>) -> io::Result<()> {
    let mut sent = 0;
    while sent < datagrams.len() {
        let attempt = socket.try_io(Interest::WRITABLE, || {
            batch::send(socket.as_raw_fd(), &datagrams[sent..])
        });
        match attempt {
            Ok(count) => sent += count,
            // the network card's queue is full; the kernel signals when there is room
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) if is_transient(&error) => sent += 1,
            Err(error) => return Err(error),
        }
    }
    datagrams.clear();
    Ok(())
}

/// Whether the error concerns one datagram only, which is lost; the next one may succeed.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EMSGSIZE
                | libc::ENOBUFS
                | libc::ENOMEM
                | libc::EPERM
                | libc::EINTR
                | libc::EINVAL
                | libc::EACCES
        )
    )
}

/// From the socket's peer into the tunnel.
async fn outbound(
    socket: &UdpSocket,
    send: &mut SendStream<Payload>,
    flight: &Arc<InFlight>,
    activity: &Activity,
) -> DatagramsEnd {
    loop {
        // yields to other tasks, however many datagrams arrive
        tokio::task::consume_budget().await;
        // a pending error of the socket is reported as such, not as readiness to read
        let ready = match socket.ready(Interest::READABLE | Interest::ERROR).await {
            Ok(ready) => ready,
            Err(error) => return DatagramsEnd::SocketFailed(error),
        };
        if let Err(end) = wait_for_window(send).await {
            return end;
        }
        let interest = match ready.is_error() {
            true => Interest::ERROR,
            false => Interest::READABLE,
        };
        match socket.try_io(interest, || batch::receive(socket.as_raw_fd())) {
            Ok(capsules) => {
                activity.note();
                if send.send_data(Payload::tracked(capsules, flight), false).is_err() {
                    return stream_end_reason(send).await;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => send.reserve_capacity(0),
            Err(error) if is_transient(&error) => {}
            Err(error) => return DatagramsEnd::SocketFailed(error),
        }
    }
}

/// Waits until the stream has window for the longest datagram.
async fn wait_for_window(send: &mut SendStream<Payload>) -> Result<(), DatagramsEnd> {
    send.reserve_capacity(MOST_QUEUED);
    while send.capacity() < LEAST_ROOM {
        match poll_fn(|cx| send.poll_capacity(cx)).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(DatagramsEnd::from(DialError::from_reset(&error))),
            None => return Err(stream_end_reason(send).await),
        }
    }
    Ok(())
}

/// Why the stream accepts no more data: the reset's reason, or the loss of the tunnel.
async fn stream_end_reason(send: &mut SendStream<Payload>) -> DatagramsEnd {
    match poll_fn(|cx| send.poll_reset(cx)).await {
        Ok(reason) => DatagramsEnd::from(DialError::from_reset(&h2::Error::from(reason))),
        Err(_) => DatagramsEnd::TunnelLost,
    }
}

impl From<DialError> for DatagramsEnd {
    fn from(error: DialError) -> Self {
        match error {
            DialError::TunnelLost => Self::TunnelLost,
            error => Self::Refused(error),
        }
    }
}
