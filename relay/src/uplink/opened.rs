//! An open tunnel that is not in use yet, and its transport: the result of opening one, for the uplink.

use crate::reached::Reached;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use kinject_tunnel::lanes::{self, SecondLane};
use kinject_tunnel::{Driver, OpenError, RelayIdentity, Security, Stream, Tunnel, link};
use std::future::{self, Future};

/// The transport of a tunnel.
pub(crate) struct TransportInfo {
    /// `direct`, `proxy` or `port-forward`.
    pub(crate) name: &'static str,
    /// How the ends have authenticated each other.
    pub(crate) security: Security,
    /// Why it is not the pod proxy, if that was tried first.
    pub(crate) not_by_proxy: Option<String>,
}

impl TransportInfo {
    fn new(name: &'static str, security: Security) -> Self {
        Self {
            name,
            security,
            not_by_proxy: None,
        }
    }
}

/// An open tunnel that is not in use yet.
pub(crate) struct Opened {
    /// The tunnel.
    pub(crate) tunnel: Tunnel,
    /// Runs it.
    pub(crate) driver: Driver,
    /// The transport to the agent.
    pub(crate) transport: TransportInfo,
    /// Adds a second transport while the tunnel is in use.
    pub(crate) widening: LocalBoxFuture<'static, ()>,
    /// The agent that it leads to.
    pub(crate) reached: Reached,
}

impl Opened {
    /// Sets the agent that it leads to.
    pub(crate) fn to(self, reached: Reached) -> Self {
        Self { reached, ..self }
    }

    /// Opens the layers above a transport.
    pub(crate) async fn over(
        stream: Stream,
        identity: &RelayIdentity,
        security: Security,
        transport: &'static str,
    ) -> Result<Self, OpenError> {
        let (tunnel, driver) = Tunnel::open(stream, identity, security).await?;
        Ok(Self {
            tunnel,
            driver,
            transport: TransportInfo::new(transport, security),
            widening: future::ready(()).boxed_local(),
            reached: Reached::Endpoint,
        })
    }

    /// The same where a second transport may join as a second lane, by `widen`.
    pub(crate) async fn in_lanes<W>(
        stream: Stream,
        identity: &RelayIdentity,
        security: Security,
        transport: &'static str,
        widen: impl FnOnce(SecondLane) -> W,
    ) -> Result<Self, OpenError>
    where
        W: Future<Output = ()> + 'static,
    {
        let (stream, agent) = link::open(stream, identity, security).await?;
        let (stream, second) = lanes::begin(stream).await?;
        let (tunnel, driver) = Tunnel::over(stream, agent).await?;
        Ok(Self {
            tunnel,
            driver,
            transport: TransportInfo::new(transport, security),
            widening: widen(second).boxed_local(),
            reached: Reached::Endpoint,
        })
    }
}
