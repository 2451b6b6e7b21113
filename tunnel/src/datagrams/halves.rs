//! The two directions of a flow, for a caller that sends and receives each datagram itself: its datagrams do not come
//! from a connected socket of their own.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::{Reason, SendStream};

use super::capsule::{self, Decoder, MOST_HEADER, MOST_PAYLOAD};
use super::{DatagramsEnd, LEAST_ROOM, MOST_QUEUED};
use crate::dial_error::DialError;
use crate::http2::{DatagramStream, Receiving};
use crate::payload::{InFlight, Payload};

/// The sending direction. Dropping it resets the stream with CANCEL once the receiving one is dropped, too.
pub struct DatagramSender {
    send: SendStream<Payload>,
    flight: Arc<InFlight>,
}

/// The receiving direction.
pub struct DatagramReceiver {
    receiving: Receiving,
    decoder: Decoder,
}

impl DatagramStream {
    /// Both directions by themselves.
    pub fn into_halves(self) -> (DatagramSender, DatagramReceiver) {
        let Self {
            send,
            receiving,
            flight,
        } = self;
        let sender = DatagramSender { send, flight };
        let receiver = DatagramReceiver {
            receiving,
            decoder: Decoder::default(),
        };
        (sender, receiver)
    }
}

impl DatagramSender {
    /// Waits until the stream is open and has window; before that every datagram is dropped.
    pub async fn ready(&mut self) -> Result<(), DatagramsEnd> {
        super::wait_for_window(&mut self.send).await
    }

    /// Sends a datagram. While the stream has no window it is dropped, as an overloaded network does; then the result is
    /// false.
    pub fn send(&mut self, datagram: &[u8]) -> bool {
        self.send.reserve_capacity(MOST_QUEUED);
        if datagram.len() > MOST_PAYLOAD || self.send.capacity() < LEAST_ROOM {
            return false;
        }
        let mut packed = BytesMut::with_capacity(datagram.len() + MOST_HEADER);
        capsule::put(&mut packed, datagram);
        let payload = Payload::tracked(packed.freeze(), &self.flight);
        self.send.send_data(payload, false).is_ok()
    }

    /// Ends the flow without an error, because it is not needed any more.
    pub fn finish(mut self) {
        self.send.send_reset(Reason::NO_ERROR);
    }
}

impl DatagramReceiver {
    /// The next datagram, or why there is none any more. Cancel-safe.
    pub async fn next(&mut self) -> Result<Bytes, DatagramsEnd> {
        loop {
            match self.decoder.next() {
                Ok(Some(datagram)) => return Ok(datagram),
                Ok(None) => {}
                Err(error) => return Err(DatagramsEnd::Refused(DialError::Other(error.to_string()))),
            }
            let stream = self.receiving.opened().await?;
            let bytes = match stream.data().await {
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) => return Err(DialError::from_reset(&error).into()),
                None => return Err(DatagramsEnd::Finished),
            };
            // a receiver that cannot keep up drops datagrams, so the window is returned at once
            if stream.flow_control().release_capacity(bytes.len()).is_err() {
                return Err(DatagramsEnd::TunnelLost);
            }
            self.decoder.push(bytes);
        }
    }
}

impl fmt::Debug for DatagramSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramSender")
            .field("id", &self.send.stream_id())
            .finish()
    }
}

impl fmt::Debug for DatagramReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatagramReceiver")
    }
}
