//! Datagrams to a forward: each local peer has a flow of its own to the target, whose answers go back to that peer.
//!
//! A peer's user is asked for once for each flow. When its socket is closed, the flow ends with it, so that whoever
//! binds that port next is asked for again.

use super::Shared;
use super::failures::Failures;
use super::flow::{Flow, MAX_DATAGRAM};
use super::peer::Verdict;
use crate::cluster::endpoints::Endpoint;
use crate::log;
use crate::socket_watch::destroy_events::DestroyEvents;
use kinject_protocol::forward::PortProtocol;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, JoinSet};

/// The most flows of one forward; each is a socket at the agent.
const MAX_FLOWS: usize = 4096;

/// The pause after a failure to receive.
const RECEIVE_PAUSE: Duration = Duration::from_millis(50);

/// A peer's flow.
struct PeerFlow {
    flow: Rc<Flow>,
    task: AbortHandle,
    /// The peer's socket, if it is on this machine.
    cookie: Option<u64>,
}

/// One socket of a forward.
struct Receiver {
    shared: Rc<Shared>,
    socket: Rc<UdpSocket>,
    ours: SocketAddr,
    endpoint: Rc<Endpoint>,
    failures: Rc<Failures>,
    flows: HashMap<SocketAddr, PeerFlow>,
    tasks: JoinSet<(SocketAddr, Rc<Flow>)>,
    /// The kernel's events about closed sockets; without them each datagram's peer is asked for.
    closed: Option<DestroyEvents>,
}

/// Serves one socket of a forward.
pub(super) async fn serve(
    shared: Rc<Shared>,
    socket: UdpSocket,
    endpoint: Endpoint,
    failures: Failures,
) -> Infallible {
    let ours = match socket.local_addr() {
        Ok(ours) => ours,
        Err(error) => {
            log::warn!("a bound socket has no address: {error}");
            return std::future::pending().await;
        }
    };
    let closed = DestroyEvents::listen();
    if let Err(error) = &closed {
        log::debug!("the kernel reports no closed sockets: {error}");
    }
    let mut receiver = Receiver {
        shared,
        socket: Rc::new(socket),
        ours,
        endpoint: Rc::new(endpoint),
        failures: Rc::new(failures),
        flows: HashMap::new(),
        tasks: JoinSet::new(),
        closed: closed.ok(),
    };
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        // cancel-safe: a datagram or an event that is not received stays queued
        tokio::select! {
            biased;
            closed = next_closed(receiver.closed.as_ref()) => receiver.closed(closed),
            Some(ended) = receiver.tasks.join_next(), if !receiver.tasks.is_empty() => {
                // a flow that was ended is not in the table any more
                if let Ok((peer, flow)) = ended {
                    receiver.ended(peer, &flow);
                }
            }
            received = receiver.socket.recv_from(&mut buffer) => match received {
                Ok((length, peer)) => receiver.received(peer, buffer.get(..length).unwrap_or_default()),
                Err(error) => {
                    log::debug!("cannot receive a datagram: {error}");
                    tokio::time::sleep(RECEIVE_PAUSE).await;
                }
            },
        }
    }
}

/// The cookie of the next socket that was closed, if the kernel reports it.
async fn next_closed(events: Option<&DestroyEvents>) -> io::Result<u64> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

impl Receiver {
    fn received(&mut self, peer: SocketAddr, datagram: &[u8]) {
        if let Some(known) = self.flows.get(&peer) {
            let is_the_same = self.closed.is_some() || self.cookie(peer) == Some(known.cookie);
            if is_the_same {
                return known.flow.send(datagram);
            }
            self.remove(peer);
        }
        let Some(cookie) = self.cookie(peer) else {
            return;
        };
        if self.flows.len() >= MAX_FLOWS {
            return self.failures.failed(&"too many peers at once");
        }
        let flow = Rc::new(Flow::new());
        flow.send(datagram);
        let task = self.tasks.spawn_local(run(
            Rc::clone(&flow),
            Rc::clone(&self.shared),
            Rc::clone(&self.socket),
            Rc::clone(&self.endpoint),
            Rc::clone(&self.failures),
            peer,
        ));
        self.flows.insert(peer, PeerFlow { flow, task, cookie });
    }

    /// The socket of a peer that is served, if it is on this machine.
    fn cookie(&self, peer: SocketAddr) -> Option<Option<u64>> {
        let verdict = self.shared.peers.verdict(PortProtocol::Udp, peer, self.ours);
        match verdict {
            Verdict::Own(cookie) => Some(Some(cookie)),
            Verdict::Elsewhere => Some(None),
            Verdict::OtherUser(_) | Verdict::Unknown => {
                self.failures.refused(verdict);
                None
            }
        }
    }

    fn closed(&mut self, cookie: io::Result<u64>) {
        match cookie {
            Ok(cookie) => self.flows.retain(|_, flow| {
                let is_closed = flow.cookie == Some(cookie);
                if is_closed {
                    flow.task.abort();
                }
                !is_closed
            }),
            Err(error) => {
                log::warn!("the kernel reports no more closed sockets: {error}");
                self.closed = None;
            }
        }
    }

    fn ended(&mut self, peer: SocketAddr, flow: &Rc<Flow>) {
        if self
            .flows
            .get(&peer)
            .is_some_and(|known| Rc::ptr_eq(&known.flow, flow))
        {
            self.flows.remove(&peer);
        }
    }

    fn remove(&mut self, peer: SocketAddr) {
        if let Some(known) = self.flows.remove(&peer) {
            known.task.abort();
        }
    }
}

/// Carries a peer's datagrams until its flow has ended.
async fn run(
    flow: Rc<Flow>,
    shared: Rc<Shared>,
    socket: Rc<UdpSocket>,
    endpoint: Rc<Endpoint>,
    failures: Rc<Failures>,
    peer: SocketAddr,
) -> (SocketAddr, Rc<Flow>) {
    let deliver = |datagram: &[u8]| {
        failures.succeeded();
        // what the peer's buffer cannot hold is dropped, as the kernel does
        let _dropped = socket.try_send_to(datagram, peer).is_err();
    };
    if let Err(failed) = flow.run(&shared.connector, &endpoint, deliver).await {
        failures.failed(&failed);
    }
    (peer, flow)
}
