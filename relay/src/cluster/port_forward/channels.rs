//! The older protocol of port-forward: the WebSocket channels of Kubernetes as a byte stream.
//!
//! Each binary message starts with a channel number: 0 for data, 1 for an error text. The first message of each channel
//! carries the port number instead (<https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming>,
//! `k8s.io/apiserver`'s `wsstream` and the kubelet's `portforward`).

use super::websocket::{fill_read_buf, io_error};
use bytes::{Buf, Bytes};
use futures::{Sink, Stream, ready};
use kinject_tunnel::lanes::MOST_BYTES;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::{self, Message};

/// The channel of the port's data; there is one port.
const DATA: u8 = 0;

/// The channel of the port's errors.
const ERRORS: u8 = 1;

/// A byte stream over the channels of a WebSocket.
pub(super) struct Channels<S> {
    socket: S,
    /// Data that was received and not read yet.
    received: Bytes,
    /// Whether the port number was received on the data channel.
    data_started: bool,
    /// The same for the error channel.
    errors_started: bool,
}

impl<S> Channels<S> {
    pub(super) fn new(socket: S) -> Self {
        Self {
            socket,
            received: Bytes::new(),
            data_started: false,
            errors_started: false,
        }
    }

    /// Handles a message; data goes to `received`.
    fn handle(&mut self, mut payload: Bytes) -> io::Result<()> {
        let malformed = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "a port-forward message without a channel",
            )
        };
        let channel = payload.first().copied().ok_or_else(malformed)?;
        payload.advance(1);
        let started = match channel {
            DATA => &mut self.data_started,
            ERRORS => &mut self.errors_started,
            _ => return Err(malformed()),
        };
        if !std::mem::replace(started, true) {
            return Ok(());
        }
        if channel == DATA {
            self.received = payload;
            return Ok(());
        }
        let text = String::from_utf8_lossy(&payload).trim().to_owned();
        Err(io::Error::new(io::ErrorKind::ConnectionReset, text))
    }
}

impl<S> AsyncRead for Channels<S>
where
    S: Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.received.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(context)) {
                Some(Ok(Message::Binary(payload))) => self.handle(payload)?,
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
            }
        }
        fill_read_buf(&mut self.received, into);
        Poll::Ready(Ok(()))
    }
}

impl<S> AsyncWrite for Channels<S>
where
    S: Sink<Message, Error = tungstenite::Error> + Unpin,
{
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    /// One message for each write of HTTP/2: a frame's header and its payload together.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = slices
            .iter()
            .map(|slice| slice.len())
            .sum::<usize>()
            .min(MOST_BYTES);
        if count == 0 {
            return Poll::Ready(Ok(0));
        }
        ready!(Pin::new(&mut self.socket).poll_ready(context)).map_err(io_error)?;
        let mut message = Vec::with_capacity(1 + count);
        message.push(DATA);
        for slice in slices {
            let room = 1 + count - message.len();
            message.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        Pin::new(&mut self.socket)
            .start_send(Message::Binary(message.into()))
            .map_err(io_error)?;
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(context).map_err(io_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels() -> Channels<()> {
        Channels::new(())
    }

    #[test]
    fn first_message_of_each_channel_is_skipped_as_the_port_number() {
        let mut channels = channels();
        channels.handle(Bytes::from_static(&[DATA, 0x79, 0x1e])).unwrap();
        assert!(channels.received.is_empty());
        channels
            .handle(Bytes::from_static(&[ERRORS, 0x79, 0x1e]))
            .unwrap();
        channels.handle(Bytes::from_static(b"\0data")).unwrap();
        assert_eq!(channels.received, "data");
    }

    #[test]
    fn message_on_the_error_channel_fails_the_stream_with_its_text() {
        let mut channels = channels();
        channels.handle(Bytes::from_static(&[ERRORS, 0, 0])).unwrap();
        let error = channels
            .handle(Bytes::from_static(b"\x01connection refused\n"))
            .unwrap_err();
        assert_eq!(error.to_string(), "connection refused");
    }

    #[test]
    fn message_without_a_known_channel_is_refused() {
        assert!(channels().handle(Bytes::new()).is_err());
        assert!(channels().handle(Bytes::from_static(b"\x07x")).is_err());
    }
}
