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
use crate::grace::Presence;
use crate::log::{BoundedLog, log};
use crate::tunnel;
use crate::unproven::{PLACES, PLACES_OF_A_SOURCE, Source, Unproven};
use crate::upgrade;

/// Pause after a failed accept, which is usually a lack of descriptors that passes.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Connections that give way to others within less than this of each other are one flood, and one line in the log.
const FLOOD: Duration = Duration::from_secs(60);

/// A listener and what is demanded there.
pub(crate) struct Door {
    pub(crate) listener: Listener,
    pub(crate) way: Way,
}

/// How relays come to a door, and so what stands before HTTP/2 there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// Over a network: TLS. Over a Unix socket: a proof, or TLS.
    Direct,
    /// Through port-forward: TLS or a proof, then the lanes of a stream.
    PortForward,
    /// Through the API server's proxy: an HTTP/1.1 upgrade, then TLS.
    Proxy,
}

/// What all tunnels share.
pub(crate) struct Doorkeeper {
    identity: AgentIdentity,
    presence: Presence,
    /// Tunnels that have ended, and what was said through them is not delivered yet.
    leftovers: Presence,
    meetings: Meetings,
    services: Arc<Services>,
    stopping: watch::Receiver<bool>,
}

/// What requests are answered with.
pub(crate) struct Services {
    pub(crate) resolver: Resolver,
    pub(crate) facts: Facts,
}

impl Doorkeeper {
    pub(crate) fn new(
        identity: AgentIdentity,
        resolver: Resolver,
        presence: Presence,
        leftovers: Presence,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let facts = Facts::new(resolver.text().to_owned());
        Doorkeeper {
            identity,
            presence,
            leftovers,
            meetings: Meetings::default(),
            services: Arc::new(Services { resolver, facts }),
            stopping,
        }
    }

    /// Lets relays in for ever.
    pub(crate) async fn keep(self: Arc<Self>, door: Door) {
        let Door { listener, way } = door;
        let least = match (way, &listener) {
            (Way::Direct, Listener::Tcp(_)) => Security::Tls,
            (Way::Direct, Listener::Unix(..)) | (Way::PortForward | Way::Proxy, _) => Security::Proof,
        };
        let unproven = Unproven::default();
        let strangers = Arc::new(Mutex::new(BoundedLog::default()));
        let mut gave_way: Option<Instant> = None;
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
            let (mut place, has_displaced) = unproven.enter(Source::from(&peer));
            if has_displaced {
                let now = Instant::now();
                if gave_way.is_none_or(|last| now - last >= FLOOD) {
                    log(format_args!(
                        "too many connections have not proven themselves, {PLACES} or {PLACES_OF_A_SOURCE} of one source: \
                         the oldest are closed, the last came from {peer}"
                    ));
                }
                gave_way = Some(now);
            }
            let (keeper, strangers) = (Arc::clone(&self), Arc::clone(&strangers));
            // It owns itself: its tunnel ends with `stopping`, and what is left of it is bounded by its readers.
            tokio::task::spawn(async move {
                let proven = tokio::select! {
                    biased;
                    // a flood is one line
                    () = place.is_lost() => return,
                    proven = keeper.prove(stream, way, least) => proven,
                };
                drop(place);
                let server = match proven {
                    Ok(stream) => keeper.begin(stream, way).await,
                    Err(error) => Err(error),
                };
                match server {
                    Ok(Some(server)) => keeper.serve(server, peer).await,
                    Ok(None) => log(format_args!("second lane of a tunnel: {peer}")),
                    Err(error) => strangers.lock().log(format_args!("refused {peer}: {error}")),
                }
            });
        }
    }

    /// The stream of whoever proves himself.
    async fn prove(&self, stream: Stream, way: Way, least: Security) -> Result<Stream, OpenError> {
        let proven = match way {
            Way::Proxy => link::accept_tls(upgrade::accept(stream).await?, &self.identity).await,
            Way::Direct | Way::PortForward => link::accept(stream, &self.identity, least).await,
        };
        proven.map(|(stream, _)| stream)
    }

    /// A tunnel on a stream whose ends have proven themselves; none if it is a part of another one.
    async fn begin(&self, stream: Stream, way: Way) -> Result<Option<Server>, OpenError> {
        let stream = match way {
            Way::PortForward => timeout(PROVE_DEADLINE, self.meetings.accept(stream))
                .await
                .map_err(|_| OpenError::TimedOut)??,
            Way::Direct | Way::Proxy => Some(stream),
        };
        match stream {
            Some(stream) => Server::start(stream).await.map(Some),
            None => Ok(None),
        }
    }

    /// Serves a tunnel until it has ended, and what was said through it is delivered.
    async fn serve(&self, server: Server, peer: Peer) {
        let present = self.presence.enter();
        log(format_args!("tunnel open: {peer}"));
        let services = Arc::clone(&self.services);
        let (reason, mut rest) = tunnel::run(server, services, self.stopping.clone()).await;
        log(format_args!("tunnel closed: {peer}: {reason}"));
        let left = self.leftovers.enter();
        drop(present);
        while let Some(ended) = rest.join_next().await {
            tunnel::note_end(ended);
        }
        drop(left);
    }
}
