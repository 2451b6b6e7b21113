//! Carries programs' datagrams.
//!
//! The program keeps its UDP socket. For each of its targets the relay has a socket on loopback, a [`flow`], in place
//! of the target: the program's datagrams are sent there, and the target's answers come from there. If the program
//! connects its socket, the relay connects it to the flow; otherwise the preloaded library asks once for each target
//! and caches the flow's address ([`Flows`] keeps that address for longer).
//!
//! Each of these sockets is connected to the program's, so that the kernel drops datagrams of other senders.

mod flow;
mod icmp;
mod names;
mod program;

use crate::dialer::{Dialer, failure_of};
use crate::names::resolver::Resolver;
use crate::routes::{Cause, Routes, Transport};
use crate::socket_watch::destroy_events::DestroyEvents;
use crate::socket_watch::udp_table;
use crate::trace::Trace;
use crate::words;
use crate::{log, network_namespace};
use flow::Flow;
use kinject_protocol::ConnectFailure;
use kinject_protocol::control::Reply;
use kinject_protocol::rules::Egress;
use kinject_tunnel::DialError;
use program::ProgramDatagrams;
use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How long the first call for a target waits for the agent's answer: most answers arrive within, so that a target
/// without a route fails as it does in the kernel.
const ANSWER_WAIT: Duration = Duration::from_millis(20);

/// How often the relay checks whether the programs' sockets still exist.
const PERIOD: Duration = Duration::from_secs(2);

/// The port that replaces port 0 of a target: the discard service's (RFC 863).
const DISCARD: u16 = 9;

/// Maximum number of flows; each is a socket here and one at the agent.
const MAX_FLOWS: usize = 16_384;

/// The session's flows.
pub(crate) struct Flows {
    dialer: Rc<Dialer>,
    routes: Rc<Routes>,
    trace: Rc<Trace>,
    /// Answers the datagrams to the session's name server.
    resolver: Rc<Resolver>,
    /// The relay's network namespace.
    network: Option<u64>,
    /// The loopback address of flows.
    address: Ipv4Addr,
    table: RefCell<Table>,
    added: Notify,
}

#[derive(Default)]
struct Table {
    by_target: HashMap<(u64, SocketAddr), Entry>,
    targets: HashMap<(u64, SocketAddr), SocketAddr>,
    /// The target of each connected socket.
    peers: HashMap<u64, SocketAddr>,
}

struct Entry {
    flow: Rc<Flow>,
    task: AbortHandle,
}

impl Flows {
    /// No flows yet; `address` is their loopback address, `network` the relay's network namespace.
    pub(crate) fn new(
        dialer: Rc<Dialer>,
        trace: Rc<Trace>,
        resolver: Rc<Resolver>,
        network: Option<u64>,
        address: Ipv4Addr,
    ) -> Self {
        Self {
            dialer,
            routes: Rc::clone(trace.routes()),
            trace,
            resolver,
            network,
            address,
            table: RefCell::default(),
            added: Notify::new(),
        }
    }

    /// The target of the flow of this socket at `address`.
    pub(crate) fn source(&self, cookie: u64, address: SocketAddr) -> Option<SocketAddr> {
        let address = canonical(address);
        self.table.borrow().targets.get(&(cookie, address)).copied()
    }

    /// The target to which this socket is connected.
    pub(crate) fn peer(&self, cookie: u64) -> Option<SocketAddr> {
        self.table.borrow().peers.get(&cookie).copied()
    }

    /// Ends flows whose sockets are closed, for as long as the session lives, and all flows when it is dropped.
    pub(crate) async fn watch(&self) -> Infallible {
        let _all = EndAll(self);
        loop {
            self.added.notified().await;
            let events = DestroyEvents::listen();
            if let Err(error) = &events {
                log::debug!("the kernel reports no closed sockets: {error}");
            }
            self.watch_some(events.ok()).await;
        }
    }

    /// Watches until there is no flow left.
    async fn watch_some(&self, mut events: Option<DestroyEvents>) {
        let mut period = tokio::time::interval_at(Instant::now() + PERIOD, PERIOD);
        while !self.table.borrow().by_target.is_empty() {
            // cancel-safe: an event or a tick that is not received stays queued
            tokio::select! {
                closed = next_closed(events.as_ref()) => match closed {
                    Ok(cookie) => self.table.borrow_mut().closed(cookie),
                    Err(error) => {
                        log::warn!("the kernel reports no more closed sockets: {error}");
                        events = None;
                    }
                },
                _ = period.tick() => match udp_table::sockets() {
                    Ok(open) => self.table.borrow_mut().retain_open(&open),
                    // the flows end when they are idle
                    Err(error) => log::warn!("cannot list UDP sockets: {error}"),
                },
            }
        }
    }

    /// Serves one call: the address to which this socket's datagrams to `target` have to be sent.
    pub(crate) async fn serve(
        self: &Rc<Self>,
        socket: Option<OwnedFd>,
        target: SocketAddr,
        connect: bool,
    ) -> Reply {
        let target = canonical(target);
        let traced = self.trace.target(Transport::Udp, target);
        let reply = match self.decide(socket, target, connect).await {
            Ok(reply) => reply,
            Err(error) => {
                log::warn!("datagrams to {target}: cannot use the program's socket: {error}");
                Reply::Failed(match error.raw_os_error() {
                    Some(libc::ENETUNREACH) => ConnectFailure::NetworkUnreachable,
                    _ => ConnectFailure::Exhausted,
                })
            }
        };
        let result = match &reply {
            Reply::Local | Reply::StandIn(_) => "left to this machine",
            Reply::Failed(failure) => words::errno(*failure),
            _ => "carried",
        };
        log::debug!("datagrams to {target}: {result}");
        traced.ended(result);
        reply
    }

    async fn decide(
        self: &Rc<Self>,
        socket: Option<OwnedFd>,
        target: SocketAddr,
        connect: bool,
    ) -> io::Result<Reply> {
        if let Some(socket) = &socket
            && network_namespace::is_another(self.network, socket)
        {
            return Ok(Reply::Local);
        }
        let decision = self.routes.decide(target, Transport::Udp);
        if let Cause::Pod(stand_in) = decision.cause {
            // the program's own call connects it
            let source = connect.then_some(stand_in.ip());
            return Ok(Reply::StandIn(
                ProgramDatagrams::inspect_at(socket, source)?.in_own_family(stand_in),
            ));
        }
        if decision.egress == Egress::Local {
            return Ok(Reply::Local);
        }
        if !is_carried(target.ip()) {
            return Ok(Reply::Failed(ConnectFailure::NetworkUnreachable));
        }
        let program = ProgramDatagrams::inspect_at(socket, None)?;
        let flow = match self.find(program.cookie, target) {
            Some(flow) => flow,
            None => match self.open(&program, target).await? {
                Ok(flow) => flow,
                Err(error) => return Ok(Reply::Failed(failure_of(&error))),
            },
        };
        flow.update_program(&program)?;
        if !connect {
            return Ok(Reply::Flow(program.in_own_family(flow.address)));
        }
        // a socket that is connected to port 0, as resolvers do to learn their source, has no peer (getpeername(2))
        program.connect(match target.port() {
            0 => SocketAddr::new(flow.address.ip(), 0),
            _ => flow.address,
        })?;
        self.table.borrow_mut().connected(&flow);
        Ok(Reply::Connected)
    }

    /// Opens a flow, unless the agent refuses its target within [`ANSWER_WAIT`].
    async fn open(
        self: &Rc<Self>,
        program: &ProgramDatagrams,
        target: SocketAddr,
    ) -> io::Result<Result<Rc<Flow>, DialError>> {
        let mut stream = None;
        let answer = tokio::time::timeout(ANSWER_WAIT, async {
            if self.routes.is_name_server(target) {
                return Ok(());
            }
            let requested = match target.port() {
                // no datagram is sent to port 0
                0 => SocketAddr::new(target.ip(), DISCARD),
                _ => target,
            };
            let stream = stream.insert(flow::request(&self.dialer, requested).await?);
            stream.opened().await
        });
        if let Ok(Err(error)) = answer.await
            && (error != DialError::TunnelLost || self.dialer.has_ended())
        {
            return Ok(Err(error));
        }
        // another thread of the program may have opened the same flow meanwhile
        if let Some(flow) = self.find(program.cookie, target) {
            return Ok(Ok(flow));
        }
        let flow = self.add(program, target)?;
        if let Some(stream) = stream
            && target.port() != 0
        {
            flow.set_stream(stream);
        }
        Ok(Ok(flow))
    }

    fn find(&self, cookie: u64, target: SocketAddr) -> Option<Rc<Flow>> {
        let table = self.table.borrow();
        let entry = table.by_target.get(&(cookie, target))?;
        Some(Rc::clone(&entry.flow))
    }

    fn add(self: &Rc<Self>, program: &ProgramDatagrams, target: SocketAddr) -> io::Result<Rc<Flow>> {
        if self.table.borrow().by_target.len() >= MAX_FLOWS {
            return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
        }
        let ip = match program.only_v6 {
            true => IpAddr::V6(Ipv6Addr::LOCALHOST),
            false => IpAddr::V4(self.address),
        };
        let flow = Rc::new(Flow::open(ip, program, target)?);
        let key = (program.cookie, target);
        let (carried, flows) = (Rc::clone(&flow), Rc::clone(self));
        let task = tokio::task::spawn_local(async move {
            carried.run(&flows.dialer, &flows.routes, &flows.resolver).await;
            flows.table.borrow_mut().remove(&carried);
        });
        let mut table = self.table.borrow_mut();
        table.targets.insert((program.cookie, flow.address), target);
        let task = task.abort_handle();
        let entry = Entry {
            flow: Rc::clone(&flow),
            task,
        };
        let replaced = table.by_target.insert(key, entry);
        debug_assert!(replaced.is_none(), "a flow was open already");
        drop(table);
        self.added.notify_one();
        Ok(flow)
    }
}

/// Ends all flows when it is dropped: their tasks own references to the flows.
struct EndAll<'a>(&'a Flows);

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        for (_, entry) in self.0.table.borrow_mut().by_target.drain() {
            entry.task.abort();
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

impl Table {
    /// Detaches the flows of a socket that its program has closed.
    fn closed(&mut self, cookie: u64) {
        self.peers.remove(&cookie);
        for ((_, target), entry) in self.by_target.iter().filter(|((of, _), _)| *of == cookie) {
            if let Err(error) = entry.flow.detach() {
                log::warn!("datagrams to {target}: cannot detach from a closed socket: {error}");
                entry.task.abort();
            }
        }
    }

    /// Removes flows whose sockets are not among the open ones.
    fn retain_open(&mut self, open: &HashMap<u64, u16>) {
        let Self {
            by_target,
            targets,
            peers,
        } = self;
        by_target.retain(|_, entry| {
            let flow = &entry.flow;
            let was_connected = flow.is_connected();
            let is_open = flow.has_open_socket(open.get(&flow.inode()).copied());
            if !is_open {
                entry.task.abort();
                targets.remove(&(flow.cookie, flow.address));
            }
            let has_disconnected = was_connected && !(is_open && flow.is_connected());
            if has_disconnected && peers.get(&flow.cookie) == Some(&flow.target) {
                peers.remove(&flow.cookie);
            }
            is_open
        });
    }

    fn remove(&mut self, flow: &Rc<Flow>) {
        self.targets.remove(&(flow.cookie, flow.address));
        let key = (flow.cookie, flow.target);
        if self
            .by_target
            .get(&key)
            .is_some_and(|entry| Rc::ptr_eq(&entry.flow, flow))
        {
            self.by_target.remove(&key);
        }
    }

    fn connected(&mut self, flow: &Rc<Flow>) {
        if let Some(before) = self.peers.insert(flow.cookie, flow.target)
            && let Some(entry) = self.by_target.get(&(flow.cookie, before))
        {
            entry.flow.set_connected(false);
        }
        flow.set_connected(true);
    }
}

/// Whether datagrams to the target are carried. Broadcast and multicast reach every machine of a network, and
/// link-local IPv6 addresses are those of one link: neither can be carried to another network.
fn is_carried(target: IpAddr) -> bool {
    match target {
        IpAddr::V4(v4) => !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_multicast() && !v6.is_unicast_link_local(),
    }
}

/// A mapped address becomes the IPv4 address; the scope is dropped, since it is valid on this machine only.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multicast_broadcast_and_ipv6_link_local_targets_are_not_carried() {
        for (address, expected) in [
            ("10.96.0.10", true),
            // the name servers and metadata of many clusters are at link-local addresses
            ("169.254.20.10", true),
            ("224.0.0.251", false),
            ("255.255.255.255", false),
            ("fd00::1", true),
            ("ff02::fb", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_carried(address.parse().unwrap()), expected, "{address}");
        }
    }
}
