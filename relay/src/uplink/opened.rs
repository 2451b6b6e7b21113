//! An open tunnel before anyone uses it, and the way that it goes: what those who open one hand to the uplink.

use crate::reached::Reached;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use kinject_tunnel::lanes::{self, SecondLane};
use kinject_tunnel::{Driver, OpenError, RelayIdentity, Security, Stream, Tunnel, link};
use std::future::{self, Future};

/// The way that a tunnel goes.
pub(crate) struct WayTaken {
    /// `direct`, `proxy` or `port-forward`.
    pub(crate) transport: &'static str,
    /// How the ends have proven themselves.
    pub(crate) security: Security,
    /// Why it is not the pod proxy, if that was tried first.
    pub(crate) not_by_proxy: Option<String>,
}

impl WayTaken {
    fn new(transport: &'static str, security: Security) -> Self {
        Self {
            transport,
            security,
            not_by_proxy: None,
        }
    }
}

/// An open tunnel before anyone uses it.
pub(crate) struct Opened {
    /// The tunnel.
    pub(crate) tunnel: Tunnel,
    /// Runs it.
    pub(crate) driver: Driver,
    /// The way to the agent.
    pub(crate) way: WayTaken,
    /// What makes the way broader while the tunnel is in use already.
    pub(crate) widening: LocalBoxFuture<'static, ()>,
    /// Whom it leads to.
    pub(crate) reached: Reached,
}

impl Opened {
    /// Says whom it leads to.
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
            way: WayTaken::new(transport, security),
            widening: future::ready(()).boxed_local(),
            reached: Reached::Endpoint,
        })
    }

    /// The same where a second transport may join: what `widen` does with the place for it.
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
            way: WayTaken::new(transport, security),
            widening: widen(second).boxed_local(),
            reached: Reached::Endpoint,
        })
    }
}
