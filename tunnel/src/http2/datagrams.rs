//! CONNECT-UDP: the stream that carries one flow of datagrams, at either end.

use std::fmt;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use h2::client::ResponseFuture;
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use tokio::time::timeout;

use super::exchange::{self, accepted};
use super::receivers::{Receiver, Receivers};
use crate::dial_error::DialError;
use crate::payload::{InFlight, Payload};

/// The value of `:protocol` (RFC 9298, 3.4).
pub(super) const PROTOCOL: &str = "connect-udp";

/// The default template of RFC 9298, 3, before the host.
const PATH: &str = "/.well-known/masque/udp/";

/// RFC 9297, 3.4.
const CAPSULE_PROTOCOL: HeaderName = HeaderName::from_static("capsule-protocol");
const TRUE: HeaderValue = HeaderValue::from_static("?1");

/// How long the datagrams received before a refusal may take to be sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// One flow of datagrams. Dropping it resets the stream with CANCEL.
pub struct DatagramStream {
    pub(crate) send: SendStream<Payload>,
    pub(crate) receiving: Receiving,
    pub(crate) flight: Arc<InFlight>,
}

/// The receiving direction of a flow.
pub(crate) enum Receiving {
    /// The other end has not answered yet; datagrams may already be sent.
    Requested(ResponseFuture, Receivers),
    Open {
        body: RecvStream,
        _receiver: Receiver,
    },
    Refused(DialError),
}

/// A request for a flow, at the agent's end.
pub struct DatagramRequest {
    host: String,
    port: u16,
    respond: SendResponse<Payload>,
    recv: RecvStream,
    receiver: Receiver,
}

impl DatagramStream {
    pub(super) fn requested(
        response: ResponseFuture,
        send: SendStream<Payload>,
        receivers: Receivers,
    ) -> Self {
        Self {
            send,
            receiving: Receiving::Requested(response, receivers),
            flight: Arc::default(),
        }
    }

    /// Waits until the other end has opened its socket, or returns why it could not. Cancel-safe.
    pub async fn opened(&mut self) -> Result<(), DialError> {
        self.receiving.opened().await.map(drop)
    }

    /// Reports that the target refuses datagrams, after the datagrams received from it were sent.
    pub async fn refuse(mut self) {
        // a stream that has ended by then needs no reset
        let _ = timeout(FLUSH_TIMEOUT, poll_fn(|cx| self.flight.poll_flushed(cx))).await;
        self.send.send_reset(Reason::CONNECT_ERROR);
    }

    /// Ends the flow without an error, because it is not needed any more.
    pub fn finish(mut self) {
        self.send.send_reset(Reason::NO_ERROR);
    }
}

impl Receiving {
    /// Cancel-safe.
    pub(crate) async fn opened(&mut self) -> Result<&mut RecvStream, DialError> {
        if let Self::Requested(response, receivers) = self {
            let answered = response.await.map_err(|error| DialError::from_reset(&error));
            *self = match answered.and_then(accepted) {
                Ok(mut body) => {
                    let _receiver = receivers.register(&mut body);
                    Self::Open { body, _receiver }
                }
                Err(error) => Self::Refused(error),
            };
        }
        match self {
            Self::Open { body, .. } => Ok(body),
            Self::Refused(error) => Err(error.clone()),
            // replaced above
            Self::Requested(..) => Err(DialError::TunnelLost),
        }
    }
}

impl DatagramRequest {
    /// The target's host: an address, without brackets, or a name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The target's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers that the socket is open. `None` if the relay has cancelled the flow.
    pub fn accept(mut self) -> Option<DatagramStream> {
        let mut response = Response::new(());
        response.headers_mut().insert(CAPSULE_PROTOCOL, TRUE);
        let send = self.respond.send_response(response, false).ok()?;
        Some(DatagramStream {
            send,
            receiving: Receiving::Open {
                body: self.recv,
                _receiver: self.receiver,
            },
            flight: Arc::default(),
        })
    }

    /// Answers why the socket could not be opened.
    pub fn refuse(self, error: &DialError) {
        exchange::refuse(self.respond, error);
    }

    /// Reads the target from an extended CONNECT; otherwise returns the response handle and the status to answer with.
    pub(super) fn read(
        request: Request<RecvStream>,
        respond: SendResponse<Payload>,
        receivers: &Receivers,
    ) -> Result<Self, (SendResponse<Payload>, StatusCode)> {
        if request.extensions().get::<Protocol>().map(Protocol::as_str) != Some(PROTOCOL) {
            // RFC 8441 leaves the status open; RFC 9220 names this one
            return Err((respond, StatusCode::NOT_IMPLEMENTED));
        }
        match target(request.uri().path()) {
            Some((host, port)) => {
                let mut recv = request.into_body();
                Ok(Self {
                    host,
                    port,
                    respond,
                    receiver: receivers.register(&mut recv),
                    recv,
                })
            }
            None => Err((respond, StatusCode::BAD_REQUEST)),
        }
    }
}

/// The request for a flow to `target`.
pub(super) fn request(target: SocketAddr) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = uri(target);
    request.extensions_mut().insert(Protocol::from_static(PROTOCOL));
    request.headers_mut().insert(CAPSULE_PROTOCOL, TRUE);
    request
}

fn uri(target: SocketAddr) -> Uri {
    // a colon has to be escaped here (RFC 9298, 2)
    let host = target.ip().to_string().replace(':', "%3A");
    let path = format!("{PATH}{host}/{}/", target.port());
    match PathAndQuery::try_from(path) {
        Ok(path) => exchange::uri(path),
        // digits, dots and escaped colons are always a valid path
        Err(_) => Uri::default(),
    }
}

fn target(path: &str) -> Option<(String, u16)> {
    let (host, port) = path.strip_prefix(PATH)?.strip_suffix('/')?.split_once('/')?;
    let host = unescaped(host)?;
    let is_host = host.parse::<IpAddr>().is_ok()
        || (!host.is_empty() && !host.contains([':', '/', '[', ']', '@', '%']) && host.is_ascii());
    let port = port.parse().ok().filter(|port| *port != 0)?;
    is_host.then_some((host, port))
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Debug for DatagramStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramStream")
            .field("id", &self.send.stream_id())
            .finish()
    }
}

impl fmt::Debug for DatagramRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramRequest")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_encoded_in_a_uri_path_is_decoded_unchanged() {
        for text in ["10.96.0.10:53", "[2001:db8::42]:443", "[::ffff:192.0.2.1]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            let uri = uri(address);
            let (host, port) = target(uri.path()).unwrap();
            assert_eq!(SocketAddr::new(host.parse().unwrap(), port), address, "{uri}");
        }
        assert_eq!(
            uri("[2001:db8::42]:443".parse().unwrap()).path(),
            "/.well-known/masque/udp/2001%3Adb8%3A%3A42/443/"
        );
    }

    #[test]
    fn uri_path_without_a_valid_target_is_rejected() {
        let found = target("/.well-known/masque/udp/echo.default/7000/");
        assert_eq!(found, Some(("echo.default".to_owned(), 7000)));
        for wrong in [
            "/",
            "/.well-known/masque/udp/echo/7000",
            "/.well-known/masque/udp//7000/",
            "/.well-known/masque/udp/echo/0/",
            "/.well-known/masque/udp/echo/65536/",
            "/.well-known/masque/udp/echo/7000/more/",
            "/.well-known/masque/udp/%5B::1%5D/7000/",
            "/.well-known/masque/udp/a%2/7000/",
            "/.well-known/masque/udp/a%zz/7000/",
            "/.well-known/masque/udp/a%ff/7000/",
            "/.well-known/masque/udp/a%2Fb/7000/",
        ] {
            assert_eq!(target(wrong), None, "{wrong}");
        }
    }
}
