//! The relay's end: requests to the agent.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use h2::client::{Connection, ResponseFuture, SendRequest};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Request, Uri};

use super::busy_poll::BusyPoll;
use super::common::Common;
use super::datagrams::{self, DatagramStream};
use super::exchange::{RequestError, accepted, answered, body, uri};
use super::heartbeat::Heartbeat;
use super::overflow::{OverflowControl, OverflowTransport};
use super::stream::TunnelStream;
use super::traffic::Metered;
use super::windows::Windows;
use super::{
    AgentFacts, CloseReason, DNS_BYTES, DNS_MEDIA_TYPE, DNS_PATH, FACTS_BYTES, FACTS_PATH, configure,
};
use crate::coop::YieldOnce;
use crate::dial_error::DialError;
use crate::hello::Hello;
use crate::keys::RelayIdentity;
use crate::link::{self, OpenError, Security};
use crate::payload::Payload;
use crate::send_scheduler::SchedulerDriver;
use crate::transport::Stream;

/// A handle to the tunnel; clones share it.
#[derive(Clone)]
pub struct Tunnel {
    send: SendRequest<Payload>,
    agent: Arc<Hello>,
    pub(super) common: Common,
    overflow: OverflowControl,
}

/// Runs the tunnel's connection: no data is sent or received unless it is polled. It ends with the tunnel and returns
/// the reason. Dropping it breaks the tunnel.
#[must_use = "no data passes through the tunnel unless its driver is polled"]
pub struct Driver(Pin<Box<dyn Future<Output = CloseReason> + Send>>);

impl Tunnel {
    /// Opens a tunnel on a transport: authenticates both ends, then starts HTTP/2. The driver has to be polled from
    /// then on, usually as a task of its own.
    pub async fn open(
        stream: Stream,
        identity: &RelayIdentity,
        security: Security,
    ) -> Result<(Tunnel, Driver), OpenError> {
        let (stream, agent) = link::open(stream, identity, security).await?;
        Tunnel::over(stream, agent).await
    }

    /// Starts HTTP/2 on a stream whose ends have authenticated each other; `agent` is the agent's hello.
    pub async fn over(stream: Stream, agent: Hello) -> Result<(Tunnel, Driver), OpenError> {
        let (stream, overflow) = OverflowTransport::new(stream);
        let (metered, traffic) = Metered::new(stream);
        let mut builder = h2::client::Builder::new();
        let (send, mut connection) = configure!(builder)
            .enable_push(false)
            .initial_max_send_streams(super::STREAMS as usize)
            .handshake(metered)
            .await
            .map_err(|error| OpenError::Http2(error.to_string()))?;
        let heartbeat = Heartbeat::new(connection.ping_pong(), traffic.clone());
        let windows = Windows::new(traffic.clone());
        let scheduler = SchedulerDriver::new();
        let common = Common::new(&windows, &scheduler);
        let busy_poll = BusyPoll::new(traffic, common.close_coalescer.clone());
        let handle = overflow.clone();
        let agent = Arc::new(agent);
        let handles = Arc::downgrade(&agent);
        let driver = Driver(Box::pin(drive(
            connection, overflow, scheduler, heartbeat, busy_poll, windows, handles,
        )));
        let tunnel = Tunnel {
            send,
            agent,
            common,
            overflow: handle,
        };
        Ok((tunnel, driver))
    }

    /// For a transport on which each message is expensive: delays the RST_STREAM of a close by up to 1 ms while the
    /// task polls anyway, so that it shares a write.
    pub fn coalesce_closes(&self) {
        self.common.close_coalescer.enable();
    }

    /// Waits until the agent has read everything that was sent before, or the tunnel is lost. A request overtakes
    /// queued data, so the answer proves it only for a request that was sent when nothing was queued.
    pub async fn settle(&self) -> Result<(), RequestError> {
        self.common.close_coalescer.flush();
        self.facts().await?;
        loop {
            let is_flushed = self.overflow.is_flushed();
            self.facts().await?;
            if is_flushed {
                return Ok(());
            }
        }
    }

    /// The agent's hello.
    pub fn agent(&self) -> &Hello {
        &self.agent
    }

    /// Has the agent connect to `host:port` or `[v6]:port` by TCP (CONNECT, RFC 9113, 8.5). The only deadline is that
    /// of the agent's kernel. Dropping the future cancels the dial at the agent.
    pub async fn connect(&self, authority: &str) -> Result<TunnelStream, DialError> {
        let authority: Authority = authority
            .parse()
            .map_err(|_| DialError::Other(format!("`{authority}` is not a host and port")))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = Uri::from(authority);
        let (response, send) = self
            .send(request, false)
            .await
            .map_err(|_| DialError::TunnelLost)?;
        let response = response
            .await
            .map_err(|error| match error.is_reset() && error.is_remote() {
                true => DialError::Other(format!("the agent gave up: {error}")),
                false => DialError::TunnelLost,
            })?;
        Ok(self.common.stream(send, accepted(response)?))
    }

    /// Requests a flow of datagrams between the agent and `target` (CONNECT-UDP, RFC 9298). This returns before the
    /// agent has answered; datagrams that are sent before the answer leave with the request.
    pub async fn datagrams(&self, target: SocketAddr) -> Result<DatagramStream, DialError> {
        if !self.send.is_extended_connect_protocol_enabled() {
            // the agent's SETTINGS precede its first answer
            match self.facts().await {
                Err(RequestError::TunnelLost) => return Err(DialError::TunnelLost),
                _ if self.send.is_extended_connect_protocol_enabled() => {}
                _ => return Err(DialError::Other("the agent carries no datagrams".into())),
            }
        }
        match self.send(datagrams::request(target), false).await {
            Ok((response, send)) => Ok(DatagramStream::requested(
                response,
                send,
                self.common.receivers.clone(),
            )),
            Err(RequestError::TunnelLost) => Err(DialError::TunnelLost),
            Err(error) => Err(DialError::Other(error.to_string())),
        }
    }

    /// Asks the pod's nameservers (DNS over HTTPS, RFC 8484). Query and answer are DNS messages.
    pub async fn dns(&self, query: Bytes) -> Result<Bytes, RequestError> {
        let media_type = HeaderValue::from_static(DNS_MEDIA_TYPE);
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri(PathAndQuery::from_static(DNS_PATH));
        request.headers_mut().insert(CONTENT_TYPE, media_type.clone());
        request.headers_mut().insert(ACCEPT, media_type);
        request
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(query.len()));
        let (response, mut send) = self.send(request, false).await?;
        send.send_data(Payload::untracked(query), true)
            .map_err(|_| RequestError::TunnelLost)?;
        let response = answered(response.await).await?;
        if response
            .headers()
            .get(CONTENT_TYPE)
            .is_none_or(|found| found != DNS_MEDIA_TYPE)
        {
            return Err(RequestError::BadAnswer("it is not a DNS message".into()));
        }
        body(&mut response.into_body(), DNS_BYTES).await
    }

    /// Requests the facts about the agent's pod.
    pub async fn facts(&self) -> Result<AgentFacts, RequestError> {
        let mut request = Request::new(());
        *request.uri_mut() = uri(PathAndQuery::from_static(FACTS_PATH));
        let (response, _) = self.send(request, true).await?;
        let response = answered(response.await).await?;
        let text = body(&mut response.into_body(), FACTS_BYTES).await?;
        serde_json::from_slice(&text).map_err(|error| RequestError::BadAnswer(error.to_string()))
    }

    pub(super) async fn send(
        &self,
        request: Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Payload>), RequestError> {
        let mut send = self.send.clone();
        poll_fn(|cx| send.poll_ready(cx))
            .await
            .map_err(|_| RequestError::TunnelLost)?;
        let sent =
            send.send_request(request, end)
                .map_err(|error| match error.is_io() || error.is_go_away() {
                    true => RequestError::TunnelLost,
                    false => RequestError::BadAnswer(error.to_string()),
                });
        self.common.close_coalescer.flush();
        sent
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel")
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

impl Future for Driver {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Driver")
    }
}

async fn drive(
    mut connection: Connection<Metered, Payload>,
    overflow: OverflowControl,
    mut scheduler: SchedulerDriver,
    mut heartbeat: Heartbeat,
    mut busy_poll: BusyPoll,
    mut windows: Windows,
    handles: Weak<Hello>,
) -> CloseReason {
    let mut yielding = YieldOnce::default();
    poll_fn(|cx| {
        ready!(yielding.poll_yielded(cx));
        windows.adapt(|window| connection.set_initial_window_size(window).is_ok());
        if let Poll::Ready(end) = overflow.poll(|| Pin::new(&mut connection).poll(cx)) {
            return Poll::Ready(match end {
                Ok(()) if handles.strong_count() == 0 => CloseReason::Finished,
                Ok(()) => CloseReason::PeerClosed,
                Err(error) => CloseReason::from(error),
            });
        }
        if windows.is_acknowledged(|window| connection.set_initial_window_size(window).is_ok()) {
            cx.waker().wake_by_ref();
        }
        scheduler.after_poll(overflow.is_flushed());
        busy_poll.after_poll(cx);
        heartbeat.poll_silent(cx).map(|()| CloseReason::Silent)
    })
    .await
}
