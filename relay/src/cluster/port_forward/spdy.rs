//! SPDY/3.1 in the binary messages of a WebSocket: the newer protocol of port-forward, as a byte stream.
//!
//! A forwarded connection is a pair of streams: one for errors, whose text the kubelet writes, and one for the data.
//! They are opened, and bytes sent, without waiting for replies, which is SPDY's way, and costs no round trip more than
//! the older protocol. There is no flow control at the other end (`moby/spdystream`): its own buffers and TCP hold back who
//! is too fast. So this end must never stop reading, and HTTP/2 above does not.

use super::frames::{self, Decoder, Event, HEAD_BYTES, Opener};
use super::websocket::{hand_over, io_error};
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

/// How much of an error is kept.
const MAX_WORDS: usize = 4096;

/// A byte stream over one pair of SPDY's streams.
pub(super) struct Spdy<S> {
    socket: S,
    decoder: Decoder,
    /// The message that is being taken apart.
    message: Bytes,
    /// Data that was not read yet.
    received: Bytes,
    /// Of the error stream's frame that is coming in.
    words: Vec<u8>,
    /// The other end sends no more data.
    ended: bool,
    /// A ping that has no answer yet. A newer one takes its place.
    ping: Option<u32>,
    /// This end sends no more data.
    finished: bool,
}

impl<S> Spdy<S>
where
    S: Sink<Message, Error = tungstenite::Error> + Unpin,
{
    /// Opens the streams to a port.
    pub(super) async fn open(mut socket: S, port: u16) -> Result<Self, tungstenite::Error> {
        socket.send(Message::Binary(beginning(port))).await?;
        Ok(Self {
            socket,
            decoder: Decoder::new(),
            message: Bytes::new(),
            received: Bytes::new(),
            words: Vec::new(),
            ended: false,
            ping: None,
            finished: false,
        })
    }

    /// Sends the answer to a ping, if one is due.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(id) = self.ping {
            ready!(Pin::new(&mut self.socket).poll_ready(context)).map_err(io_error)?;
            self.ping = None;
            self.send(frames::ping(id))?;
        }
        Poll::Ready(Ok(()))
    }

    /// To be called when the socket is ready.
    fn send(&mut self, message: Bytes) -> io::Result<()> {
        Pin::new(&mut self.socket)
            .start_send(Message::Binary(message))
            .map_err(io_error)
    }
}

/// The frames that open both streams.
fn beginning(port: u16) -> Bytes {
    let port = port.to_string();
    let (mut opener, mut frames) = (Opener::default(), Vec::new());
    for (stream, kind) in [(ERRORS, "error"), (DATA, "data")] {
        let headers = [("streamtype", kind), ("port", &port), ("requestid", "0")];
        opener.open(&mut frames, stream, &headers);
    }
    frames.into()
}

impl<S> Spdy<S> {
    /// Takes in what the other end says.
    fn take(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Data {
                stream: DATA, bytes, ..
            } => self.received = bytes,
            Event::Data {
                stream: ERRORS,
                bytes,
                whole,
            } => {
                let room = MAX_WORDS.saturating_sub(self.words.len());
                self.words.extend_from_slice(&bytes[..bytes.len().min(room)]);
                if whole {
                    let words = String::from_utf8_lossy(&self.words).trim().to_owned();
                    return Err(io::Error::new(io::ErrorKind::ConnectionReset, words));
                }
            }
            Event::End { stream: DATA } => self.ended = true,
            Event::Reset { stream: DATA } => {
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionReset,
                    "the cluster reset the port-forward",
                ));
            }
            // an even number is the other end's own, an odd one the answer to ours, of which there are none
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
        while this.received.is_empty() && !this.ended {
            if let Some(event) = this.decoder.next(&mut this.message) {
                this.take(event)?;
                // a socket that takes nothing now takes it before the next bytes
                if this.ping.is_some() && this.poll_answer(context)?.is_ready() {
                    let _later = Pin::new(&mut this.socket).poll_flush(context).map_err(io_error)?;
                }
                continue;
            }
            match ready!(Pin::new(&mut this.socket).poll_next(context)) {
                Some(Ok(Message::Binary(message))) => this.message = message,
                Some(Ok(Message::Close(_))) | None => this.ended = true,
                Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
            }
        }
        hand_over(&mut this.received, into);
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

    /// One frame in one message for what HTTP/2 writes at once.
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
        ready!(self.poll_answer(context))?;
        ready!(Pin::new(&mut self.socket).poll_ready(context)).map_err(io_error)?;
        let mut message = Vec::with_capacity(HEAD_BYTES + count);
        message.extend_from_slice(&frames::data(DATA, count as u32, false));
        for slice in slices {
            let room = HEAD_BYTES + count - message.len();
            message.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        self.send(message.into())?;
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(context))?;
        Pin::new(&mut self.socket).poll_flush(context).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.finished {
            ready!(Pin::new(&mut self.socket).poll_ready(context)).map_err(io_error)?;
            self.finished = true;
            self.send(Bytes::copy_from_slice(&frames::data(DATA, 0, true)))?;
        }
        Pin::new(&mut self.socket).poll_close(context).map_err(io_error)
    }
}

#[cfg(test)]
mod tests;
