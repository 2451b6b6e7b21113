//! How a second lane joins the stream that it belongs to.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::{Lanes, SHORT};
use crate::hello::fill_random;
use crate::transport::Stream;

/// Identifies a stream among those of an agent; a transport that sends it may join the stream.
type StreamId = [u8; 16];

const NEW_STREAM: u8 = 0;
const SECOND_LANE: u8 = 1;
/// Kind and number.
const OPENING_BYTES: usize = 17;

/// The relay's handle to add the second lane to a stream.
pub struct SecondLane {
    id: StreamId,
    lane: oneshot::Sender<Stream>,
}

/// Opens a stream at the relay's end, on a transport whose ends are authenticated.
pub async fn begin(mut stream: Stream) -> io::Result<(Stream, SecondLane)> {
    let mut id = StreamId::default();
    fill_random(&mut id);
    open(&mut stream, NEW_STREAM, &id).await?;
    let (lane, joining) = oneshot::channel();
    let lanes = Lanes::new(stream, SHORT, joining);
    Ok((Box::new(lanes), SecondLane { id, lane }))
}

impl SecondLane {
    /// Adds a transport whose ends are authenticated. Fails if the stream has ended meanwhile.
    pub async fn join(self, mut stream: Stream) -> io::Result<()> {
        open(&mut stream, SECOND_LANE, &self.id).await?;
        self.lane
            .send(stream)
            .map_err(|_| io::ErrorKind::ConnectionAborted.into())
    }

    /// Waits until the stream has ended.
    pub async fn stream_ended(&mut self) {
        self.lane.closed().await;
    }
}

impl fmt::Debug for SecondLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecondLane")
    }
}

async fn open(stream: &mut Stream, kind: u8, id: &StreamId) -> io::Result<()> {
    let mut opening = [kind; OPENING_BYTES];
    opening[1..].copy_from_slice(id);
    stream.write_all(&opening).await?;
    stream.flush().await
}

/// The streams of an agent that a second lane may join.
#[derive(Clone, Default)]
pub struct JoinableStreams(Arc<Mutex<HashMap<StreamId, oneshot::Sender<Stream>>>>);

impl JoinableStreams {
    /// Reads the opening of a transport whose ends are authenticated. Returns a new stream, or none if the transport
    /// has joined one.
    pub async fn accept(&self, mut stream: Stream) -> io::Result<Option<Stream>> {
        let mut opening = [0; OPENING_BYTES];
        stream.read_exact(&mut opening).await?;
        let [kind, id @ ..] = opening;
        match kind {
            NEW_STREAM => {
                let (lane, joining) = oneshot::channel();
                let mut joinable = self.0.lock();
                joinable.retain(|_, lane| !lane.is_closed());
                joinable.insert(id, lane);
                Ok(Some(Box::new(Lanes::new(stream, usize::MAX, joining))))
            }
            SECOND_LANE => {
                let lane = self.0.lock().remove(&id);
                let joined = lane.and_then(|lane| lane.send(stream).ok());
                joined.map(|()| None).ok_or_else(|| {
                    io::Error::new(
                        io::ErrorKind::NotFound,
                        "the stream that it would join is not here",
                    )
                })
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is neither a stream nor a lane of one",
            )),
        }
    }
}

impl fmt::Debug for JoinableStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinableStreams")
    }
}
