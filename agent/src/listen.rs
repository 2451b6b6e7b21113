//! The doors: listeners, and what happens to whoever knocks.
//!
//! Until a relay has proven itself it costs little and not for long: there are deadlines for each step, and a limit
//! on how many may be under way at once. Nothing it sends can end the agent.

use std::sync::Arc;
use std::time::Duration;

use kinject_tunnel::http2::Server;
use kinject_tunnel::{AgentIdentity, Listener, OpenError, Security, Stream, link};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::dns::Resolver;
use crate::facts::Facts;
use crate::grace::Presence;
use crate::log::log;
use crate::tunnel;
use crate::upgrade;

/// How long tunnels may take to end when the agent stops.
pub(crate) const DRAIN: Duration = Duration::from_secs(1);
/// Connections that may be proving themselves at once.
const UNPROVEN: usize = 64;
/// Pause after a failed accept, which is usually a lack of descriptors that passes.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A listener and what is demanded there.
pub(crate) struct Door {
    pub(crate) listener: Listener,
    /// Whether connections come through the API server's proxy, as an HTTP/1.1 upgrade.
    pub(crate) upgrade: bool,
    pub(crate) security: Security,
}

/// What all tunnels share.
pub(crate) struct Doorkeeper {
    identity: AgentIdentity,
    presence: Presence,
    unproven: Arc<Semaphore>,
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
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let facts = Facts::new(resolver.text().to_owned());
        Doorkeeper {
            identity,
            presence,
            unproven: Arc::new(Semaphore::new(UNPROVEN)),
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
            let (upgrade, security) = (door.upgrade, door.security);
            // It owns itself: it ends with its tunnel, which ends with `stopping`.
            tokio::task::spawn(async move {
                let proven = keeper.prove(stream, upgrade, security).await;
                drop(permit);
                match proven {
                    Ok(server) => {
                        let present = keeper.presence.enter();
                        log(format_args!("tunnel open: {peer}"));
                        let services = Arc::clone(&keeper.services);
                        let reason = tunnel::run(server, services, keeper.stopping.clone()).await;
                        log(format_args!("tunnel closed: {peer}: {reason}"));
                        drop(present);
                    }
                    Err(error) => log(format_args!("refused {peer}: {error}")),
                }
            });
        }
    }

    async fn prove(&self, stream: Stream, upgrade: bool, security: Security) -> Result<Server, OpenError> {
        let stream = match upgrade {
            true => upgrade::accept(stream).await?,
            false => stream,
        };
        let (stream, _) = link::accept(stream, &self.identity, security).await?;
        Server::start(stream).await
    }
}

/// Waits for all tasks, and ends those that take longer than this.
pub(crate) async fn join_within(tasks: &mut JoinSet<()>, limit: Duration) {
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(limit, all).await.is_err() {
        tasks.shutdown().await;
    }
}
