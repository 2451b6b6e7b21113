//! How the lanes of a stream find each other.

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

/// Names a stream among those of an agent; who can name one may join it.
type Number = [u8; 16];

const NEW: u8 = 0;
const JOINS: u8 = 1;
/// Kind and number.
const OPENING_BYTES: usize = 17;

/// The relay's way to add the second lane to a stream.
pub struct SecondLane {
    number: Number,
    place: oneshot::Sender<Stream>,
}

/// Begins a stream at the relay's end, on a transport whose ends have proven themselves.
pub async fn begin(mut stream: Stream) -> io::Result<(Stream, SecondLane)> {
    let mut number = Number::default();
    fill_random(&mut number);
    open(&mut stream, NEW, &number).await?;
    let (place, joining) = oneshot::channel();
    let lanes = Lanes::new(stream, SHORT, joining);
    Ok((Box::new(lanes), SecondLane { number, place }))
}

impl SecondLane {
    /// Adds a transport, whose ends have proven themselves. A stream that has ended meanwhile takes none.
    pub async fn join(self, mut stream: Stream) -> io::Result<()> {
        open(&mut stream, JOINS, &self.number).await?;
        self.place
            .send(stream)
            .map_err(|_| io::ErrorKind::ConnectionAborted.into())
    }

    /// Waits until the stream has ended.
    pub async fn stream_ended(&mut self) {
        self.place.closed().await;
    }
}

impl fmt::Debug for SecondLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecondLane")
    }
}

async fn open(stream: &mut Stream, kind: u8, number: &Number) -> io::Result<()> {
    let mut opening = [kind; OPENING_BYTES];
    opening[1..].copy_from_slice(number);
    stream.write_all(&opening).await?;
    stream.flush().await
}

/// The streams of an agent that a second lane may join.
#[derive(Clone, Default)]
pub struct Meetings(Arc<Mutex<HashMap<Number, oneshot::Sender<Stream>>>>);

impl Meetings {
    /// Hears what a transport is for, whose ends have proven themselves: gives a new stream, or nothing if it has joined
    /// one.
    pub async fn accept(&self, mut stream: Stream) -> io::Result<Option<Stream>> {
        let mut opening = [0; OPENING_BYTES];
        stream.read_exact(&mut opening).await?;
        let [kind, number @ ..] = opening;
        match kind {
            NEW => {
                let (place, joining) = oneshot::channel();
                let mut waiting = self.0.lock();
                waiting.retain(|_, place| !place.is_closed());
                waiting.insert(number, place);
                Ok(Some(Box::new(Lanes::new(stream, usize::MAX, joining))))
            }
            JOINS => {
                let place = self.0.lock().remove(&number);
                let joined = place.and_then(|place| place.send(stream).ok());
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

impl fmt::Debug for Meetings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meetings")
    }
}
