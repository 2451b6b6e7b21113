//! Joins a connected UDP socket with a stream of the tunnel: CONNECT-UDP (RFC 9298) over HTTP/2 (RFC 8441).
//!
//! Relay and agent use it alike: the socket's peer is the program's socket at one end and the service's at the other.
//!
//! **Datagrams stay what they are.** Each is a capsule of its own (`capsule`), in the order in which it came. None
//! is merged, split or sent twice.
//!
//! **A full path drops.** A socket is read only while its stream has room, so what does not fit waits in the socket's
//! buffer, and the kernel drops what does not fit there. A stream that is held back holds back no other.
//!
//! **Refusals.** An ICMP message that ends a connected socket's hopes, such as "port unreachable", ends the stream
//! with a reset (CONNECT_ERROR), after the datagrams that came before it. The relay tells the program and opens
//! another stream for its next datagram.

mod batch;
pub(crate) mod capsule;

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

/// Room that a stream has to have before its socket is read: the longest datagram.
const LEAST_ROOM: usize = MOST_PAYLOAD + MOST_HEADER;

/// Bytes of one stream that may wait to be written: what a program sent a moment ago should not be old when it arrives.
const MOST_QUEUED: usize = 4 * LEAST_ROOM;

/// What ended a flow of datagrams.
#[derive(Debug)]
pub enum DatagramsEnd {
    /// Nothing moved for as long as the caller allows.
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

/// Carries datagrams both ways until either side ends, or nothing has moved for `patience`.
///
/// The socket has to be connected. Dropping the future ends nothing by itself: socket and stream are the caller's.
pub async fn carry(socket: &UdpSocket, stream: &mut DatagramStream, patience: Duration) -> DatagramsEnd {
    let activity = Activity::new();
    let DatagramStream {
        send,
        receiving,
        flight,
    } = stream;
    tokio::select! {
        end = inbound(socket, receiving, &activity) => end,
        end = outbound(socket, send, flight, &activity) => end,
        () = activity.ceases(patience) => DatagramsEnd::Idle,
    }
}

/// When something last moved.
struct Activity {
    began: Instant,
    /// Milliseconds after that.
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

    async fn ceases(&self, patience: Duration) {
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let end = self.began + last + patience;
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
        // the socket drops what it has no room for, so the window never waits for it
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
            // the network card's queue is full, which the kernel lets a program wait for
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) if is_passing(&error) => sent += 1,
            Err(error) => return Err(error),
        }
    }
    datagrams.clear();
    Ok(())
}

/// Does the error concern one datagram alone? Then it is lost, and the next may fare better.
fn is_passing(error: &io::Error) -> bool {
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
        // everyone else's turn, however much comes
        tokio::task::consume_budget().await;
        // an error of the socket shows as such, not as something to read
        let ready = match socket.ready(Interest::READABLE | Interest::ERROR).await {
            Ok(ready) => ready,
            Err(error) => return DatagramsEnd::SocketFailed(error),
        };
        if let Err(end) = room(send).await {
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
                    return over(send).await;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => send.reserve_capacity(0),
            Err(error) if is_passing(&error) => {}
            Err(error) => return DatagramsEnd::SocketFailed(error),
        }
    }
}

/// Waits until the stream has room for any datagram.
async fn room(send: &mut SendStream<Payload>) -> Result<(), DatagramsEnd> {
    send.reserve_capacity(MOST_QUEUED);
    while send.capacity() < LEAST_ROOM {
        match poll_fn(|cx| send.poll_capacity(cx)).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(DatagramsEnd::from(DialError::from_reset(&error))),
            None => return Err(over(send).await),
        }
    }
    Ok(())
}

/// Why the stream takes no more. The other direction knows best, if it hears of it.
async fn over(send: &mut SendStream<Payload>) -> DatagramsEnd {
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
