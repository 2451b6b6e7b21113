//! The agent's end: requests of the relay.

use std::fmt;
use std::future::poll_fn;
use std::task::{Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use h2::ext::Protocol;
use h2::server::{Connection, SendResponse};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::common::Common;
use super::datagrams::DatagramRequest;
use super::exchange::{RequestError, body, refuse};
use super::file_server::{EnvironmentRequest, FileRequest, Responder, WatchRequest};
use super::heartbeat::Heartbeat;
use super::overflow::{OverflowControl, OverflowTransport};
use super::stream::TunnelStream;
use super::traffic::Metered;
use super::windows::Windows;
use super::{
    AgentFacts, CloseReason, DNS_BYTES, DNS_MEDIA_TYPE, DNS_PATH, ENVIRONMENT_PATH, FACTS_PATH, FILE_PATH,
    WATCH_PATH, configure,
};
use crate::coop::YieldOnce;
use crate::dial_error::DialError;
use crate::link::{OpenError, PROVE_DEADLINE};
use crate::payload::Payload;
use crate::send_scheduler::SchedulerDriver;
use crate::transport::Stream;

/// A tunnel at the agent's end.
pub struct Server {
    connection: Connection<Metered, Payload>,
    overflow: OverflowControl,
    scheduler: SchedulerDriver,
    common: Common,
    heartbeat: Heartbeat,
    windows: Windows,
    yielding: YieldOnce,
}

/// A request of the relay.
#[derive(Debug)]
pub enum Incoming {
    /// A TCP connection is requested.
    Connect(ConnectRequest),
    /// A flow of datagrams is requested.
    Datagrams(DatagramRequest),
    /// A DNS message is to be answered.
    Dns(DnsRequest),
    /// Facts about the pod are requested.
    Facts(FactsRequest),
    /// The agent's environment is requested.
    Environment(EnvironmentRequest),
    /// A file is requested.
    File(FileRequest),
    /// Paths are to be watched.
    Watch(WatchRequest),
}

/// `CONNECT host:port`.
pub struct ConnectRequest {
    authority: String,
    respond: SendResponse<Payload>,
    recv: RecvStream,
    common: Common,
}

/// `POST /dns-query`.
pub struct DnsRequest {
    respond: SendResponse<Payload>,
    recv: RecvStream,
}

/// `GET /.well-known/kinject`.
pub struct FactsRequest {
    respond: SendResponse<Payload>,
}

impl Server {
    /// Starts HTTP/2 on a link whose other end is authenticated.
    pub async fn start(stream: Stream) -> Result<Server, OpenError> {
        let (stream, overflow) = OverflowTransport::new(stream);
        let (metered, traffic) = Metered::new(stream);
        let mut builder = h2::server::Builder::new();
        let handshake = configure!(builder).enable_connect_protocol().handshake(metered);
        let mut connection = timeout(PROVE_DEADLINE, handshake)
            .await
            .map_err(|_| OpenError::TimedOut)?
            .map_err(|error| OpenError::Http2(error.to_string()))?;
        let windows = Windows::new(traffic.clone());
        let heartbeat = Heartbeat::new(connection.ping_pong(), traffic);
        let scheduler = SchedulerDriver::new();
        Ok(Server {
            connection,
            overflow,
            common: Common::new(&windows, &scheduler),
            scheduler,
            heartbeat,
            windows,
            yielding: YieldOnce::default(),
        })
    }

    /// The next request, or why the tunnel ended. Cancel-safe. The tunnel sends and receives only while this is polled;
    /// dropping the server breaks it.
    pub async fn next(&mut self) -> Result<Incoming, CloseReason> {
        loop {
            let accepted = poll_fn(|cx| {
                ready!(self.yielding.poll_yielded(cx));
                self.windows
                    .adapt(|window| self.connection.set_initial_window_size(window).is_ok());
                if let Poll::Ready(accepted) = self.overflow.poll(|| self.connection.poll_accept(cx)) {
                    return Poll::Ready(Ok(accepted));
                }
                if self
                    .windows
                    .is_acknowledged(|window| self.connection.set_initial_window_size(window).is_ok())
                {
                    cx.waker().wake_by_ref();
                }
                self.scheduler.after_poll(self.overflow.is_flushed());
                self.heartbeat.poll_silent(cx).map(|()| Err(CloseReason::Silent))
            });
            match accepted.await? {
                Some(Ok((request, respond))) => {
                    if let Some(incoming) = classify(request, respond, &self.common) {
                        return Ok(incoming);
                    }
                }
                Some(Err(error)) => return Err(CloseReason::from(error)),
                None => return Err(CloseReason::PeerClosed),
            }
        }
    }

    /// Accepts no further request; [`Server::next`] ends when the open ones have ended.
    pub fn drain(&mut self) {
        self.connection.graceful_shutdown();
    }
}

impl ConnectRequest {
    /// `host:port` or `[v6]:port`, as the relay wrote it.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Waits until the relay cancels the connection. Cancel-safe.
    pub async fn cancelled(&mut self) {
        // An error means that the tunnel has ended, and the request with it.
        let _ = poll_fn(|cx| self.respond.poll_reset(cx)).await;
    }

    /// Answers that the connection is established. `None` if the relay has cancelled it.
    pub fn accept(mut self) -> Option<TunnelStream> {
        let send = self.respond.send_response(Response::new(()), false).ok()?;
        Some(self.common.stream(send, self.recv))
    }

    /// Answers why the connection failed.
    pub fn refuse(self, error: &DialError) {
        refuse(self.respond, error);
    }
}

impl DnsRequest {
    /// Reads the query.
    pub async fn query(&mut self) -> Result<Bytes, RequestError> {
        body(&mut self.recv, DNS_BYTES).await
    }

    /// Waits until the relay cancels the query. Cancel-safe.
    pub async fn cancelled(&mut self) {
        let _ = poll_fn(|cx| self.respond.poll_reset(cx)).await;
    }

    /// Answers with a DNS message, whatever its response code.
    pub fn answer(self, message: Bytes) {
        answer(self.respond, StatusCode::OK, DNS_MEDIA_TYPE, message);
    }

    /// No nameserver answered in time.
    pub fn timed_out(self) {
        answer(
            self.respond,
            StatusCode::GATEWAY_TIMEOUT,
            "text/plain",
            Bytes::from_static(b"no nameserver answered"),
        );
    }

    /// No nameserver could be asked.
    pub fn failed(self, why: &str) {
        answer(
            self.respond,
            StatusCode::BAD_GATEWAY,
            "text/plain",
            Bytes::copy_from_slice(why.as_bytes()),
        );
    }

    /// The query is no DNS message.
    pub fn malformed(self) {
        answer(
            self.respond,
            StatusCode::BAD_REQUEST,
            "text/plain",
            Bytes::from_static(b"not a DNS query"),
        );
    }
}

impl FactsRequest {
    /// Answers.
    pub fn answer(self, facts: &AgentFacts) {
        match serde_json::to_vec(facts) {
            Ok(text) => answer(self.respond, StatusCode::OK, "application/json", text.into()),
            Err(error) => {
                answer(
                    self.respond,
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "text/plain",
                    error.to_string().into(),
                );
            }
        }
    }
}

/// Sorts a request by its kind; refuses requests of any other kind.
fn classify(
    request: Request<RecvStream>,
    respond: SendResponse<Payload>,
    common: &Common,
) -> Option<Incoming> {
    let refuse = |respond, status: StatusCode| {
        answer(respond, status, "text/plain", Bytes::new());
        None
    };
    if request.method() == Method::CONNECT && request.extensions().get::<Protocol>().is_some() {
        return match DatagramRequest::read(request, respond, &common.receivers) {
            Ok(request) => Some(Incoming::Datagrams(request)),
            Err((respond, status)) => refuse(respond, status),
        };
    }
    if request.method() == Method::CONNECT {
        let Some(authority) = request
            .uri()
            .authority()
            .map(|authority| authority.as_str().to_owned())
        else {
            return refuse(respond, StatusCode::BAD_REQUEST);
        };
        return Some(Incoming::Connect(ConnectRequest {
            authority,
            respond,
            recv: request.into_body(),
            common: common.clone(),
        }));
    }
    let responder = |respond| Responder {
        respond,
        common: common.clone(),
    };
    match (request.uri().path(), request.method()) {
        (DNS_PATH, &Method::POST) => {
            match request
                .headers()
                .get(CONTENT_TYPE)
                .is_some_and(|found| found == DNS_MEDIA_TYPE)
            {
                true => Some(Incoming::Dns(DnsRequest {
                    respond,
                    recv: request.into_body(),
                })),
                false => refuse(respond, StatusCode::UNSUPPORTED_MEDIA_TYPE),
            }
        }
        (FACTS_PATH, &Method::GET) => Some(Incoming::Facts(FactsRequest { respond })),
        (ENVIRONMENT_PATH, &Method::GET) => {
            Some(Incoming::Environment(EnvironmentRequest(responder(respond))))
        }
        (FILE_PATH, &Method::POST) => Some(Incoming::File(FileRequest {
            responder: responder(respond),
            recv: request.into_body(),
        })),
        (WATCH_PATH, &Method::POST) => Some(Incoming::Watch(WatchRequest {
            responder: responder(respond),
            recv: request.into_body(),
        })),
        (DNS_PATH | FACTS_PATH | ENVIRONMENT_PATH | FILE_PATH | WATCH_PATH, _) => {
            refuse(respond, StatusCode::METHOD_NOT_ALLOWED)
        }
        _ => refuse(respond, StatusCode::NOT_FOUND),
    }
}

pub(super) fn answer(
    mut respond: SendResponse<Payload>,
    status: StatusCode,
    media_type: &'static str,
    body: Bytes,
) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if body.is_empty() {
        let _ = respond.send_response(response, true);
        return;
    }
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    // Either call fails only if the relay has cancelled the request, and then no answer is needed.
    if let Ok(mut send) = respond.send_response(response, false) {
        let _ = send.send_data(Payload::untracked(body), true);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

impl fmt::Debug for ConnectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for DnsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DnsRequest")
    }
}

impl fmt::Debug for FactsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FactsRequest")
    }
}
