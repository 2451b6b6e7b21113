//! The doors: listeners, and what happens to whoever knocks.
//!
//! Until a relay has proven itself it costs little and not for long: there are deadlines for each step, and a limit
//! on how many may be under way at once. Nothing it sends can end the agent.

use std::sync::Arc;
use std::time::Duration;

use kinject_tunnel::http2::Server;
use kinject_tunnel::lanes::Meetings;
use kinject_tunnel::link::PROVE_DEADLINE;
use kinject_tunnel::{AgentIdentity, Listener, OpenError, Security, Stream, link};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::dns::Resolver;
use crate::facts::Facts;
use crate::grace::Presence;
use crate::log::log;
use crate::tunnel;
use crate::upgrade;

/// Connections that may be proving themselves at once.
const UNPROVEN: usize = 64;
/// Pause after a failed accept, which is usually a lack of descriptors that passes.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A listener and what is demanded there.
pub(crate) struct Door {
    pub(crate) listener: Listener,
    pub(crate) way: Way,
}

/// How relays come to a door, and so what stands before HTTP/2 there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// Over a network that the user trusts: a proof.
    Direct,
    /// Through port-forward: a proof, then the lanes of a stream.
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
    unproven: Arc<Semaphore>,
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
            unproven: Arc::new(Semaphore::new(UNPROVEN)),
            meetings: Meetings::default(),
            services: Arc::new(Services { resolver, facts }),
            stopping,
        }
    }

    /// Lets relays in for ever.
    pub(crate) async fn keep(self: Arc<Self>, door: Door) {
        let mut crowded = false;
        loop {
            let (stream, peer) = match door.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    log(format_args!("cannot accept a connection: {error}"));
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&self.unproven).try_acquire_owned() else {
                // One line for a whole flood.
                if !crowded {
                    log(format_args!(
                        "closed {peer} and maybe others: {UNPROVEN} have not proven themselves yet"
                    ));
                }
                crowded = true;
                continue;
            };
            crowded = false;
            let keeper = Arc::clone(&self);
            // It owns itself: its tunnel ends with `stopping`, and what is left of it is bounded by its readers.
            tokio::task::spawn(async move {
                let proven = keeper.prove(stream, door.way).await;
                drop(permit);
                match proven {
                    Ok(Some(server)) => {
                        let present = keeper.presence.enter();
                        log(format_args!("tunnel open: {peer}"));
                        let services = Arc::clone(&keeper.services);
                        let (reason, mut rest) = tunnel::run(server, services, keeper.stopping.clone()).await;
                        log(format_args!("tunnel closed: {peer}: {reason}"));
                        let left = keeper.leftovers.enter();
                        drop(present);
                        while let Some(ended) = rest.join_next().await {
                            tunnel::note_end(ended);
                        }
                        drop(left);
                    }
                    Ok(None) => log(format_args!("second lane of a tunnel: {peer}")),
                    Err(error) => log(format_args!("refused {peer}: {error}")),
                }
            });
        }
    }

    /// A tunnel with whoever proves himself; none if what he brings is a part of another one.
    async fn prove(&self, stream: Stream, way: Way) -> Result<Option<Server>, OpenError> {
        let stream = match way {
            Way::Proxy => {
                let stream = upgrade::accept(stream).await?;
                let (stream, _) = link::accept(stream, &self.identity, Security::Tls).await?;
                Some(stream)
            }
            Way::Direct | Way::PortForward => {
                let (stream, _) = link::accept(stream, &self.identity, Security::Proof).await?;
                match way {
                    Way::PortForward => timeout(PROVE_DEADLINE, self.meetings.accept(stream))
                        .await
                        .map_err(|_| OpenError::TimedOut)??,
                    _ => Some(stream),
                }
            }
        };
        match stream {
            Some(stream) => Server::start(stream).await.map(Some),
            None => Ok(None),
        }
    }
}
