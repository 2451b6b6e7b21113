//! The listeners, and what happens to whoever connects.
//!
//! Until a relay has proven itself it costs little and not for long: there are deadlines for each step, and a bound on how many
//! may be under way at once, at each listener for itself ([`crate::unproven`]). Nothing it sends can end the agent, and what
//! the log says of it is bounded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kinject_tunnel::http2::Server;
use kinject_tunnel::lanes::Meetings;
use kinject_tunnel::link::PROVE_DEADLINE;
use kinject_tunnel::transport::Peer;
use kinject_tunnel::{AgentIdentity, Listener, OpenError, Security, Stream, link};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::dns::Resolver;
use crate::facts::Facts;
use crate::log::{BoundedLog, log};
use crate::tunnel::{self, Services};
use crate::tunnel_count::TunnelCount;
use crate::unproven::{SLOTS, SLOTS_OF_A_SOURCE, Source, Unproven};
use crate::upgrade;

/// Pause after a failed accept, which is usually a lack of descriptors that passes.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Connections that give way to others within less than this of each other are one flood, and one line in the log.
const FLOOD: Duration = Duration::from_secs(60);

/// What a listener is for, and so which layers stand before HTTP/2 there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ListenerKind {
    /// Over a network: TLS. Over a Unix socket: a proof, or TLS.
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
    /// Tunnels that are closed, and whose connections still deliver what they hold.
    draining: TunnelCount,
    meetings: Meetings,
    services: Arc<Services>,
    stopping: watch::Receiver<bool>,
}

impl Acceptor {
    pub(crate) fn new(
        identity: AgentIdentity,
        resolver: Resolver,
        open: TunnelCount,
        draining: TunnelCount,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let facts = Facts::new(resolver.text().to_owned());
        Acceptor {
            identity,
            open,
            draining,
            meetings: Meetings::default(),
            services: Arc::new(Services { resolver, facts }),
            stopping,
        }
    }

    /// Accepts relays for ever.
    pub(crate) async fn run(self: Arc<Self>, listener: Listener, kind: ListenerKind) {
        let least = match (kind, &listener) {
            (ListenerKind::Direct, Listener::Tcp(_)) => Security::Tls,
            (ListenerKind::Direct, Listener::Unix(..))
            | (ListenerKind::PortForward | ListenerKind::Proxy, _) => Security::Proof,
        };
        let unproven = Unproven::default();
        let strangers = Arc::new(Mutex::new(BoundedLog::default()));
        let mut last_eviction: Option<Instant> = None;
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    strangers
                        .lock()
                        .log(format_args!("cannot accept a connection: {error}"));
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let (mut slot, has_evicted) = unproven.enter(Source::from(&peer));
            if has_evicted {
                let now = Instant::now();
                if last_eviction.is_none_or(|last| now - last >= FLOOD) {
                    log(format_args!(
                        "too many connections have not proven themselves, {SLOTS} or {SLOTS_OF_A_SOURCE} of one source: \
                         the oldest are closed, the last came from {peer}"
                    ));
                }
                last_eviction = Some(now);
            }
            let (acceptor, strangers) = (Arc::clone(&self), Arc::clone(&strangers));
            // It owns itself: its tunnel ends with `stopping`, and what is left of it is bounded by its readers.
            tokio::task::spawn(async move {
                let proven = tokio::select! {
                    biased;
                    // a flood is one line
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
                    Err(error) => strangers.lock().log(format_args!("refused {peer}: {error}")),
                }
            });
        }
    }

    /// The stream of whoever proves himself.
    async fn prove(&self, stream: Stream, kind: ListenerKind, least: Security) -> Result<Stream, OpenError> {
        let proven = match kind {
            ListenerKind::Proxy => link::accept_tls(upgrade::accept(stream).await?, &self.identity).await,
            ListenerKind::Direct | ListenerKind::PortForward => {
                link::accept(stream, &self.identity, least).await
            }
        };
        proven.map(|(stream, _)| stream)
    }

    /// A tunnel on a stream whose ends have proven themselves; none if it is a part of another one.
    async fn begin(&self, stream: Stream, kind: ListenerKind) -> Result<Option<Server>, OpenError> {
        let stream = match kind {
            ListenerKind::PortForward => timeout(PROVE_DEADLINE, self.meetings.accept(stream))
                .await
                .map_err(|_| OpenError::TimedOut)??,
            ListenerKind::Direct | ListenerKind::Proxy => Some(stream),
        };
        match stream {
            Some(stream) => Server::start(stream).await.map(Some),
            None => Ok(None),
        }
    }

    /// Serves a tunnel until it is closed and its connections have delivered what they hold.
    async fn serve(&self, server: Server, peer: Peer) {
        let open = self.open.increment();
        log(format_args!("tunnel open: {peer}"));
        let services = Arc::clone(&self.services);
        let (reason, mut rest) = tunnel::run(server, services, self.stopping.clone()).await;
        log(format_args!("tunnel closed: {peer}: {reason}"));
        let draining = self.draining.increment();
        drop(open);
        while let Some(ended) = rest.join_next().await {
            tunnel::note_end(ended);
        }
        drop(draining);
    }
}
