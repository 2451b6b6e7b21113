//! SPDY/3.1 in the binary messages of a WebSocket: the newer protocol of port-forward, as a byte stream.
//!
//! A forwarded connection is a pair of streams: one for errors, whose text the kubelet writes, and one for the data. As
//! SPDY allows, the relay opens them and sends bytes without waiting for replies, which costs no round trip more than
//! the older protocol. The server (`moby/spdystream`) has no flow control: its buffers and TCP's slow down a fast
//! sender. So the relay must never stop reading, and HTTP/2 above does not.

use super::frames::{self, Decoder, Event, HEADER_BYTES, Opener};
use super::websocket::{fill_read_buf, io_error};
use bytes::Bytes;
use futures::{Sink, SinkExt, Stream, ready};
use kinject_tunnel::lanes::MOST_BYTES;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::{self, Message};

/// The stream of the port's errors: a client's streams have odd numbers.
const ERRORS: u32 = 1;

/// The stream of the port's data.
const DATA: u32 = 3;

/// The largest part of an error text that is kept.
const MAX_ERROR_BYTES: usize = 4096;

/// A byte stream over one pair of SPDY streams.
pub(super) struct Spdy<S> {
    socket: S,
    decoder: Decoder,
    /// The message that is being decoded.
    message: Bytes,
    /// Data that was received and not read yet.
    received: Bytes,
    /// The error text received so far.
    error_text: Vec<u8>,
    /// The server sends no more data.
    read_closed: bool,
    /// A ping that has no answer yet. A newer one replaces it.
    ping: Option<u32>,
    /// The relay sends no more data.
    write_closed: bool,
}

impl<S> Spdy<S>
where
    S: Sink<Message, Error = tungstenite::Error> + Unpin,
{
    /// Opens the streams to a port.
    pub(super) async fn open(mut socket: S, port: u16) -> Result<Self, tungstenite::Error> {
        socket.send(Message::Binary(opening_frames(port))).await?;
        Ok(Self {
            socket,
            decoder: Decoder::new(),
            message: Bytes::new(),
            received: Bytes::new(),
            error_text: Vec::new(),
            read_closed: false,
            ping: None,
            write_closed: false,
        })
    }

    /// Sends the answer to a ping, if one is due.
    fn poll_ping_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(id) = self.ping {
            ready!(Pin::new(&mut self.socket).poll_ready(context)).map_err(io_error)?;
            self.ping = None;
            self.send(frames::ping(id))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends a message. The caller has polled the socket ready.
    fn send(&mut self, message: Bytes) -> io::Result<()> {
        Pin::new(&mut self.socket)
            .start_send(Message::Binary(message))
            .map_err(io_error)
    }
}

/// The frames that open both streams.
fn opening_frames(port: u16) -> Bytes {
    let port = port.to_string();
    let (mut opener, mut frames) = (Opener::default(), Vec::new());
    for (stream, kind) in [(ERRORS, "error"), (DATA, "data")] {
        let headers = [("streamtype", kind), ("port", &port), ("requestid", "0")];
        opener.open(&mut frames, stream, &headers);
    }
    frames.into()
}

impl<S> Spdy<S> {
    /// Handles an event of the server's.
    fn handle(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Data {
                stream: DATA, bytes, ..
            } => self.received = bytes,
            Event::Data {
                stream: ERRORS,
                bytes,
                end_of_frame,
            } => {
                let room = MAX_ERROR_BYTES.saturating_sub(self.error_text.len());
                self.error_text.extend_from_slice(&bytes[..bytes.len().min(room)]);
                if end_of_frame {
                    let text = String::from_utf8_lossy(&self.error_text).trim().to_owned();
                    return Err(io::Error::new(io::ErrorKind::ConnectionReset, text));
                }
            }
            Event::End { stream: DATA } => self.read_closed = true,
            Event::Reset { stream: DATA } => {
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionReset,
                    "the cluster reset the port-forward",
                ));
            }
            // an even identifier is the server's, an odd one that of an answer to a ping of the relay's, which sends
            // none
            Event::Ping { id } if id % 2 == 0 => self.ping = Some(id),
            Event::Ping { .. } | Event::Data { .. } | Event::End { .. } | Event::Reset { .. } => {}
        }
        Ok(())
    }
}

impl<S> AsyncRead for Spdy<S>
where
    S: Stream<Item = Result<Message, tungstenite::Error>> + Sink<Message, Error = tungstenite::Error> + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.received.is_empty() && !this.read_closed {
            if let Some(event) = this.decoder.next(&mut this.message) {
                this.handle(event)?;
                // if the socket cannot take it yet, the next write or flush sends it first
                if this.ping.is_some() && this.poll_ping_answer(context)?.is_ready() {
                    let _flushed_later = Pin::new(&mut this.socket).poll_flush(context).map_err(io_error)?;
                }
                continue;
            }
            match ready!(Pin::new(&mut this.socket).poll_next(context)) {
                Some(Ok(Message::Binary(message))) => this.message = message,
                Some(Ok(Message::Close(_))) | None => this.read_closed = true,
                Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
            }
        }
        fill_read_buf(&mut this.received, into);
        Poll::Ready(Ok(()))
    }
}

impl<S> AsyncWrite for Spdy<S>
where
    S: Sink<Message, Error = tungstenite::Error> + Unpin,
{
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    /// One frame in one message for each write of HTTP/2.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let count = all.min(MOST_BYTES);
        if count == 0 {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_ping_answer(context))?;
        ready!(Pin::new(&mut self.socket).poll_ready(context)).map_err(io_error)?;
        let mut message = Vec::with_capacity(HEADER_BYTES + count);
        message.extend_from_slice(&frames::data(DATA, count as u32, false));
        for slice in slices {
            let room = HEADER_BYTES + count - message.len();
            message.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        self.send(message.into())?;
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ping_answer(context))?;
        Pin::new(&mut self.socket).poll_flush(context).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.write_closed {
            ready!(Pin::new(&mut self.socket).poll_ready(context)).map_err(io_error)?;
            self.write_closed = true;
            self.send(Bytes::copy_from_slice(&frames::data(DATA, 0, true)))?;
        }
        Pin::new(&mut self.socket).poll_close(context).map_err(io_error)
    }
}

#[cfg(test)]
mod tests;
