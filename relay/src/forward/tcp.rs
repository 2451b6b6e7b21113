//! Connections to a forward: accepted, checked for their user, and joined with a connection to the target.
//!
//! The kernel accepts a connection before its target is dialled, so a target that refuses shows as a reset.

use super::Shared;
use super::connector::{Connected, Failed};
use super::failures::Failures;
use super::peer::Verdict;
use crate::cluster::endpoints::Endpoint;
use crate::{log, words};
use kinject_protocol::forward::PortProtocol;
use rustix::net::sockopt;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The pause after a failure to accept: open connections have to end before there are descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves one listener of a forward.
pub(super) async fn serve(
    shared: Rc<Shared>,
    listener: TcpListener,
    endpoint: Endpoint,
    failures: Failures,
) -> Infallible {
    let (endpoint, failures) = (Rc::new(endpoint), Rc::new(failures));
    accept(listener, |accepted| {
        let (shared, endpoint, failures) = (Rc::clone(&shared), Rc::clone(&endpoint), Rc::clone(&failures));
        async move {
            let Some(accepted) = accepted.admit(&shared, &failures) else {
                return;
            };
            match accepted.while_open(shared.connector.connect(&endpoint)).await {
                Some(Ok(connected)) => {
                    failures.succeeded();
                    accepted.join(&shared, connected).await;
                }
                Some(Err(failed)) => {
                    failures.failed(&failed);
                    accepted.reset();
                }
                None => log::debug!("{}: reset by the program meanwhile", accepted.peer),
            }
        }
    })
    .await
}

/// Accepts connections and serves each by a task, for as long as the session lives.
pub(super) async fn accept<F: Future<Output = ()> + 'static>(
    listener: TcpListener,
    serve: impl Fn(Accepted) -> F,
) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn_local(serve(Accepted { stream, peer }));
                }
                Err(error) => {
                    log::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    log::warn!("a connection failed: {error}");
                }
            }
        }
    }
}

/// A connection that was accepted.
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
}

/// A connection of a peer that is served.
pub(super) struct Admitted {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    /// Whether the peer's socket is on this machine.
    is_local: bool,
}

impl Accepted {
    /// Resets the connection of a peer that is not served.
    pub(super) fn admit(self, shared: &Shared, failures: &Failures) -> Option<Admitted> {
        let Self { stream, peer } = self;
        // a socket without an address was reset
        let ours = stream.local_addr().ok()?;
        let verdict = shared.peers.verdict(PortProtocol::Tcp, peer, ours);
        let is_local = match verdict {
            Verdict::Own(_) => true,
            Verdict::Elsewhere => false,
            Verdict::OtherUser(_) | Verdict::Unknown => {
                failures.refused(verdict);
                reset(&stream);
                return None;
            }
        };
        let prepared = stream
            .set_nodelay(true)
            .and_then(|()| kinject_tunnel::splice::keep_alive(&stream));
        if let Err(error) = prepared {
            log::debug!("{peer}: {error}");
            return None;
        }
        Some(Admitted {
            stream,
            peer,
            is_local,
        })
    }
}

impl Admitted {
    /// Waits for something, unless the peer resets the connection meanwhile.
    pub(super) async fn while_open<T>(&self, awaited: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = awaited => Some(done),
            _ = self.stream.ready(Interest::ERROR) => None,
        }
    }

    /// Carries bytes between both ends until the connection has ended.
    pub(super) async fn join(self, shared: &Shared, connected: Connected) {
        let Self {
            stream,
            peer,
            is_local,
        } = self;
        match connected {
            Connected::Remote(tunnel) => {
                let outcome = shared.connects.carry_accepted(stream, tunnel, is_local).await;
                log::debug!("{peer} {}", words::connection_end(&outcome));
            }
            Connected::Local(target) => {
                let end = copy(stream, target).await;
                log::debug!("{peer} ended: {end:?}");
            }
        }
    }

    /// Resets the connection.
    pub(super) fn reset(self) {
        reset(&self.stream);
    }
}

/// Copies both directions between sockets of this machine; an error of one of them resets the other.
async fn copy(mut program: TcpStream, mut target: TcpStream) -> io::Result<(u64, u64)> {
    let copied = tokio::io::copy_bidirectional(&mut program, &mut target).await;
    if copied.is_err() {
        reset(&program);
        reset(&target);
    }
    copied
}

/// Has the close of a connection be a reset.
fn reset(stream: &TcpStream) {
    if let Err(error) = sockopt::set_socket_linger(stream, Some(Duration::ZERO)) {
        log::debug!("cannot reset a connection: {error}");
    }
}

impl Failed {
    /// Whether it is the target's refusal rather than a failure on the way.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Connect(kinject_protocol::ConnectFailure::Refused))
    }
}
