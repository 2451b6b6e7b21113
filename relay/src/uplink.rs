//! The session's tunnel to its agent, which is reopened when it breaks.
//!
//! ```text
//!   Connecting ──▶ Active ──▶ Connecting ──▶ Active ...  ──▶ Ended
//! ```
//!
//! While there is no tunnel, dials and lookups wait, each up to its caller's own time-out; they never use another
//! route. The relay retries until the session ends: the user, who is notified, may resolve even a failure that looks
//! permanent (an expired token, a revoked right). If the agent's Job was deleted, the session ends.

pub(crate) mod opened;
mod reconnector;

pub(crate) use reconnector::Reconnector;

use crate::cluster::agent::ClusterAgent;
use crate::log;
use crate::names::order::{self, Source};
use crate::names::pod::PodNames;
use crate::reached::Reached;
use crate::report::{self, AgentLocation, Failure};
use futures::future::LocalBoxFuture;
use kinject_protocol::session::{Report, TlsChoice};
use kinject_tunnel::{Driver, Endpoint, OpenError, RelayIdentity, Security, Tunnel, Version, link};
use opened::{Opened, TransportInfo};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;

/// Time limit of one attempt to open a tunnel.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// A tunnel that is up.
pub(crate) struct ActiveTunnel {
    /// The tunnel.
    pub(crate) tunnel: Tunnel,
    /// The resolver settings and addresses of the agent's pod.
    pub(crate) names: PodNames,
    /// The pod's own addresses.
    pub(crate) addresses: Vec<IpAddr>,
}

#[derive(Clone)]
enum State {
    Connecting,
    Active(Rc<ActiveTunnel>),
    Ended,
}

/// The session has ended: there will be no further tunnel.
#[derive(Debug)]
pub(crate) struct Ended;

/// The session's view of the tunnel to the agent.
pub(crate) struct Uplink {
    state: watch::Receiver<State>,
    sources: Rc<RefCell<Vec<Source>>>,
}

impl Uplink {
    /// The pod's source address towards `destination`; while there is no tunnel, that of the last pod.
    pub(crate) fn source_for(&self, destination: IpAddr) -> Option<IpAddr> {
        order::source_for(destination.to_canonical(), &self.sources.borrow()).map(|source| source.address)
    }

    /// The tunnel, as soon as there is one.
    pub(crate) async fn up(&self) -> Result<Rc<ActiveTunnel>, Ended> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting)).await;
        match settled.as_deref() {
            Ok(State::Active(up)) => Ok(Rc::clone(up)),
            Ok(State::Connecting | State::Ended) | Err(_) => Err(Ended),
        }
    }

    /// Whether the session has ended, after which there is no further tunnel.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(&*self.state.borrow(), State::Ended)
    }

    /// The tunnel, if there is one.
    pub(crate) fn now(&self) -> Option<Rc<ActiveTunnel>> {
        match &*self.state.borrow() {
            State::Active(up) => Some(Rc::clone(up)),
            State::Connecting | State::Ended => None,
        }
    }

    /// Ready when there has been no tunnel for this long.
    pub(crate) async fn is_down_for(&self, time: Duration) {
        let mut state = self.state.clone();
        let is_connecting = |state: &State| matches!(state, State::Connecting);
        while state.wait_for(is_connecting).await.is_ok() {
            let settled = state.wait_for(|state| !is_connecting(state));
            if tokio::time::timeout(time, settled).await.is_err() {
                return;
            }
        }
        // the session has ended, which `up` says
        std::future::pending().await
    }

    /// Waits until the session has noticed that this tunnel is lost.
    pub(crate) async fn lost(&self, lost: &Rc<ActiveTunnel>) {
        let mut state = self.state.clone();
        let noticed = |state: &State| !matches!(state, State::Active(up) if Rc::ptr_eq(up, lost));
        // an error means that the session ends, and `up` says so
        let _ended = state.wait_for(noticed).await.is_err();
    }
}

/// How a session connects to its agent.
pub(crate) enum Connector {
    /// To an agent that was started by hand.
    Direct {
        /// The endpoint at which it listens.
        endpoint: Endpoint,
        /// The relay's keys, derived from the shared secret.
        identity: Box<RelayIdentity>,
        /// How the ends authenticate each other.
        security: Security,
    },
    /// To an agent in a pod that the session creates.
    Cluster(Rc<ClusterAgent>),
}

impl Connector {
    /// The connector for `--agent`.
    pub(crate) fn direct(endpoint: &OsStr, key: &Path, tls: TlsChoice) -> Result<Self, Failure> {
        let endpoint = Endpoint::try_from(endpoint).map_err(|error| {
            Failure::lasting(
                format!("--agent {}: {error}", kinject_escape::bytes(endpoint.as_bytes())),
                "write unix:PATH or tcp:HOST:PORT",
            )
        })?;
        let secret = kinject_tunnel::Secret::read(key).map_err(|error| {
            Failure::lasting(
                format!("--agent-key {}: {error}", kinject_escape::path(key)),
                &error.hint(),
            )
        })?;
        let identity = RelayIdentity::from_secret(&secret).map_err(|error| {
            Failure::lasting(
                format!(
                    "--agent-key {}: no certificate can be made of it: {error}",
                    kinject_escape::path(key)
                ),
                "report this",
            )
        })?;
        let security = match (&endpoint, tls) {
            (Endpoint::Unix(_), TlsChoice::Auto) => Security::Proof,
            (Endpoint::Unix(_), TlsChoice::Always) | (Endpoint::Tcp { .. }, _) => Security::Tls,
        };
        Ok(Self::Direct {
            endpoint,
            identity: Box::new(identity),
            security,
        })
    }

    async fn open(&self) -> Result<Opened, Failure> {
        match self {
            Self::Direct {
                endpoint,
                identity,
                security,
            } => tokio::time::timeout(OPEN_TIMEOUT, open_direct(endpoint, identity, *security))
                .await
                .unwrap_or_else(|_| {
                    Err(Failure::passing(
                        format!("the agent at {endpoint} does not answer"),
                        "check that nothing else listens there",
                    ))
                }),
            // both transports pass through an API server
            Self::Cluster(agent) => agent
                .open()
                .await
                .inspect(|opened| opened.tunnel.coalesce_closes()),
        }
    }

    /// The notice about an agent of another release.
    fn of_another_release(&self, agent: &Version) -> Report {
        match self {
            Self::Direct { endpoint, .. } => {
                report::of_another_release(agent, AgentLocation::Endpoint(&endpoint.to_string()))
            }
            Self::Cluster(ours) => ours.with_location(|location| report::of_another_release(agent, location)),
        }
    }

    /// Which of the addresses that an agent reports are its own. For an agent that was started by hand there is no
    /// other source.
    fn own_addresses(&self, reported: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
        match self {
            Self::Direct { .. } => reported.collect(),
            Self::Cluster(agent) => agent.own_addresses(reported),
        }
    }

    /// Why there is no tunnel yet after one broke; `close_reason` is that of the broken tunnel.
    fn outage_reason(&self, close_reason: &str) -> String {
        match self {
            Self::Direct { .. } => close_reason.to_owned(),
            Self::Cluster(agent) => agent.outage_reason(close_reason),
        }
    }

    /// Opens a tunnel and requests the agent's facts.
    async fn connect(&self) -> Result<Established, Failure> {
        let Opened {
            tunnel,
            mut driver,
            transport,
            widening,
            reached,
        } = self.open().await?;
        let facts = tokio::select! {
            facts = tunnel.facts() => facts.map_err(|error| error.to_string()),
            reason = &mut driver => Err(reason.to_string()),
        };
        let mut facts = facts.map_err(|error| {
            Failure::cut_short(
                format!("the agent does not answer: {error}"),
                "look into the agent's log",
            )
        })?;
        for dropped in facts.keep_to_bounds() {
            log::warn!("the agent reports more {dropped} than a pod has: the first ones are used");
        }
        if let Self::Cluster(agent) = self {
            agent.is_in_use();
        }
        let reported = facts.addresses.iter().map(|reported| reported.address);
        let up = Rc::new(ActiveTunnel {
            tunnel,
            addresses: self.own_addresses(reported),
            names: PodNames::from(&facts),
        });
        Ok(Established {
            up,
            driver,
            transport,
            widening,
            reached,
            resolv_conf: facts.resolv_conf,
        })
    }
}

/// Opens a tunnel to an agent that was started by hand.
async fn open_direct(
    endpoint: &Endpoint,
    identity: &RelayIdentity,
    security: Security,
) -> Result<Opened, Failure> {
    let stream = endpoint.connect().await.map_err(|error| {
        let hint = format!("start it with `kinject-agent --listen {endpoint} --key FILE`");
        Failure::passing(format!("cannot reach the agent at {endpoint}: {error}"), &hint)
    })?;
    let error = match Opened::over(stream, identity, security, "direct").await {
        Ok(opened) => return Ok(opened),
        Err(error) => error,
    };
    let error = match &error {
        // an agent before wire version 4 closes the connection at a ClientHello, and answers a hello in clear with its
        // version
        OpenError::Closed | OpenError::Io(_) | OpenError::NotKinject if security == Security::Tls => {
            match endpoint.connect().await {
                Ok(stream) => link::other_version(stream, identity).await.unwrap_or(error),
                Err(_) => error,
            }
        }
        _ => error,
    };
    let endpoint = endpoint.to_string();
    Err(report::of_open_error(&error, AgentLocation::Endpoint(&endpoint)))
}

/// A tunnel whose agent has reported its facts.
pub(crate) struct Established {
    /// The tunnel.
    pub(crate) up: Rc<ActiveTunnel>,
    driver: Driver,
    /// The transport to the agent.
    pub(crate) transport: TransportInfo,
    widening: LocalBoxFuture<'static, ()>,
    reached: Reached,
    /// The pod's resolver configuration, unchanged.
    pub(crate) resolv_conf: String,
}

#[cfg(test)]
mod tests;
