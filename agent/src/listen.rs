//! The listeners: accepts and authenticates relays, then serves their tunnels.
//!
//! An unauthenticated connection costs little: each step has a deadline, and each listener bounds the number of such
//! connections ([`crate::unproven`]). Nothing that it sends can end the agent, and its log lines are limited.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kinject_tunnel::http2::Server;
use kinject_tunnel::lanes::JoinableStreams;
use kinject_tunnel::link::PROVE_DEADLINE;
use kinject_tunnel::transport::Peer;
use kinject_tunnel::{AgentIdentity, Listener, OpenError, Security, Stream, link};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::dns::Resolver;
use crate::facts::Facts;
use crate::files::Files;
use crate::log::{BoundedLog, log};
use crate::tunnel::{self, Services};
use crate::tunnel_count::TunnelCount;
use crate::unproven::{SLOTS, SLOTS_PER_SOURCE, Source, Unproven};
use crate::upgrade;

/// Pause after a failed accept, usually for a temporary lack of descriptors.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Evictions less than this apart belong to one flood, which is one line in the log.
const FLOOD: Duration = Duration::from_secs(60);

/// The purpose of a listener, which determines the layers below HTTP/2.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ListenerKind {
    /// Direct: TLS over TCP; a proof or TLS over a Unix socket.
    Direct,
    /// Through port-forward: TLS or a proof, then the lanes of a stream.
    PortForward,
    /// Through the API server's proxy: an HTTP/1.1 upgrade, then TLS.
    Proxy,
}

/// Accepts relays; all tunnels share it.
pub(crate) struct Acceptor {
    identity: AgentIdentity,
    open: TunnelCount,
    /// Closed tunnels whose connections still deliver data.
    draining: TunnelCount,
    joinable: JoinableStreams,
    services: Arc<Services>,
    stopping: watch::Receiver<bool>,
}

impl Acceptor {
    pub(crate) fn new(
        identity: AgentIdentity,
        resolver: Resolver,
        files: Files,
        open: TunnelCount,
        draining: TunnelCount,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let facts = Facts::new(resolver.text().to_owned());
        Acceptor {
            identity,
            open,
            draining,
            joinable: JoinableStreams::default(),
            services: Arc::new(Services {
                resolver,
                facts,
                files,
            }),
            stopping,
        }
    }

    /// Accepts relays until it is dropped.
    pub(crate) async fn run(self: Arc<Self>, listener: Listener, kind: ListenerKind) {
        let least = match (kind, &listener) {
            (ListenerKind::Direct, Listener::Tcp(_)) => Security::Tls,
            (ListenerKind::Direct, Listener::Unix(..))
            | (ListenerKind::PortForward | ListenerKind::Proxy, _) => Security::Proof,
        };
        let unproven = Unproven::default();
        let unproven_log = Arc::new(Mutex::new(BoundedLog::default()));
        let mut last_eviction: Option<Instant> = None;
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    unproven_log
                        .lock()
                        .log(format_args!("cannot accept a connection: {error}"));
                    tokio::time::sleep(ACCEPT_RETRY_PAUSE).await;
                    continue;
                }
            };
            let (mut slot, has_evicted) = unproven.enter(Source::from(&peer));
            if has_evicted {
                let now = Instant::now();
                if last_eviction.is_none_or(|last| now - last >= FLOOD) {
                    log(format_args!(
                        "too many connections have not proven themselves, {SLOTS} or {SLOTS_PER_SOURCE} of one source: \
                         the oldest are closed, the last came from {peer}"
                    ));
                }
                last_eviction = Some(now);
            }
            let (acceptor, unproven_log) = (Arc::clone(&self), Arc::clone(&unproven_log));
            // The task is not joined: its tunnel ends with `stopping`, and its remaining connections end with their
            // readers.
            tokio::task::spawn(async move {
                let proven = tokio::select! {
                    biased;
                    // a flood is logged once
                    () = slot.evicted() => return,
                    proven = acceptor.prove(stream, kind, least) => proven,
                };
                drop(slot);
                let server = match proven {
                    Ok(stream) => acceptor.begin(stream, kind).await,
                    Err(error) => Err(error),
                };
                match server {
                    Ok(Some(server)) => acceptor.serve(server, peer).await,
                    Ok(None) => log(format_args!("second lane of a tunnel: {peer}")),
                    Err(error) => unproven_log.lock().log(format_args!("refused {peer}: {error}")),
                }
            });
        }
    }

    /// Authenticates the relay; returns the stream behind the proof or TLS.
    async fn prove(&self, stream: Stream, kind: ListenerKind, least: Security) -> Result<Stream, OpenError> {
        let proven = match kind {
            ListenerKind::Proxy => link::accept_tls(upgrade::accept(stream).await?, &self.identity).await,
            ListenerKind::Direct | ListenerKind::PortForward => {
                link::accept(stream, &self.identity, least).await
            }
        };
        proven.map(|(stream, _)| stream)
    }

    /// Starts a tunnel on an authenticated stream; none if it is the second lane of another one.
    async fn begin(&self, stream: Stream, kind: ListenerKind) -> Result<Option<Server>, OpenError> {
        let stream = match kind {
            ListenerKind::PortForward => timeout(PROVE_DEADLINE, self.joinable.accept(stream))
                .await
                .map_err(|_| OpenError::TimedOut)??,
            ListenerKind::Direct | ListenerKind::Proxy => Some(stream),
        };
        match stream {
            Some(stream) => Server::start(stream).await.map(Some),
            None => Ok(None),
        }
    }

    /// Serves a tunnel until it is closed and its connections have delivered their data.
    async fn serve(&self, server: Server, peer: Peer) {
        let open = self.open.increment();
        log(format_args!("tunnel open: {peer}"));
        let services = Arc::clone(&self.services);
        let (reason, mut connections) = tunnel::run(server, services, self.stopping.clone()).await;
        log(format_args!("tunnel closed: {peer}: {reason}"));
        let draining = self.draining.increment();
        drop(open);
        while let Some(ended) = connections.join_next().await {
            tunnel::log_panic(ended);
        }
        drop(draining);
    }
}
