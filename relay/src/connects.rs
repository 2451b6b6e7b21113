//! connect(2) of programs' TCP sockets, from the request to the end of the connection.
//!
//! [`Connects::connect`] serves a request, wherever its socket came from. It returns the reply for the program, and the
//! connection to run after that. The caller sends the reply before it runs the connection.
//!
//! A connect is handled as [`Routes`] decides: it is left to this machine, connected to the session itself (the pod's
//! own address, the session's name server), or dialled by the agent ([`handshake`]).

mod handshake;

use crate::data::ports::DataPorts;
use crate::data::program::ProgramSocket;
use crate::dialer::Dialer;
use crate::log;
use crate::names;
use crate::names::resolver::Resolver;
use crate::network_namespace;
use crate::registry::{Connected, Registry};
use crate::routes::{Cause, Routes, Transport};
use crate::socket_watch::closed::ClosedSockets;
use crate::socket_watch::connections::OpenConnections;
use crate::socket_watch::sock_diag;
use crate::trace::Trace;
use crate::words;
use handshake::{Established, Handshakes, InProgress, Started};
use kinject_protocol::ConnectFailure;
use kinject_protocol::control::Reply;
use kinject_protocol::rules::Egress;
use kinject_tunnel::{SpliceOutcome, TunnelStream};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use tokio::net::TcpStream;

/// The connects of the session's programs, and their connections.
pub(crate) struct Connects {
    handshakes: Handshakes,
    routes: Rc<Routes>,
    trace: Rc<Trace>,
    /// The state of programs' sockets.
    registry: Rc<Registry>,
    /// Answers the questions to the session's name server.
    resolver: Rc<Resolver>,
    /// The connections that programs have open.
    connections: OpenConnections,
    /// The sockets that programs have closed.
    closed: ClosedSockets,
    /// The relay's network namespace.
    network: Option<u64>,
}

/// A connection to run once the program has its reply.
pub(crate) struct Connection {
    connects: Rc<Connects>,
    target: SocketAddr,
    state: State,
}

enum State {
    /// To the session's name server.
    NameServer(TcpStream, Connected),
    /// To a target that answered in time. The duplicate of the program's socket is closed once the program has its
    /// reply.
    Connected(Established, ProgramSocket),
    /// To a target that has not answered yet.
    InProgress(InProgress),
}

impl Connects {
    /// No connects yet; `network` is the relay's network namespace.
    pub(crate) fn new(
        dialer: Rc<Dialer>,
        trace: Rc<Trace>,
        resolver: Rc<Resolver>,
        registry: Rc<Registry>,
        ports: DataPorts,
        network: Option<u64>,
    ) -> Self {
        Self {
            handshakes: Handshakes::new(dialer, Rc::clone(&registry), ports),
            routes: Rc::clone(trace.routes()),
            trace,
            registry,
            resolver,
            connections: OpenConnections::default(),
            closed: ClosedSockets::new(),
            network,
        }
    }

    /// Detects sockets that programs close while their connect is in progress, for as long as the session lives.
    pub(crate) async fn watch(&self) -> Infallible {
        self.handshakes.watch().await
    }

    /// Connects a program's socket; returns the reply for the program, and the connection to run after it.
    pub(crate) async fn connect(
        self: &Rc<Self>,
        socket: Option<OwnedFd>,
        target: SocketAddr,
    ) -> (Reply, Option<Connection>) {
        if let Some(socket) = &socket
            && network_namespace::is_another(self.network, socket)
        {
            log::debug!("connect to {target}: the socket is of another network namespace");
            return (Reply::Local, None);
        }
        let mut program = match socket
            .ok_or(io::ErrorKind::InvalidInput.into())
            .and_then(ProgramSocket::inspect)
        {
            Ok(program) => program,
            Err(error) => {
                log::warn!("connect to {target}: the attached socket cannot be used: {error}");
                return (Reply::Failed(ConnectFailure::Exhausted), None);
            }
        };
        if let Some(failure) = self.registry.take_failure(program.cookie) {
            // as the kernel does when connect(2) returns the failure
            if failure != ConnectFailure::Invalid
                && let Err(error) = program.withdraw()
            {
                log::warn!("connect to {target}: the socket keeps a failure that was reported: {error}");
            }
            return (Reply::Failed(failure), None);
        }
        program.needs_listener |= self.registry.is_shut_down(program.cookie);
        let decision = self.routes.decide(target, Transport::Tcp);
        if let Cause::Pod(stand_in) = decision.cause {
            return (self.bind_to_stand_in(&program, target, stand_in), None);
        }
        if decision.egress == Egress::Local {
            log::debug!("connect to {target}: left to this machine");
            self.trace
                .target(Transport::Tcp, target)
                .ended("left to this machine");
            return (Reply::Local, None);
        }
        let started = match self.routes.is_name_server(target) {
            true => self.connect_to_name_server(&program, target).await,
            false => self.dial(program, target).await,
        };
        match started {
            Ok((reply, state)) => {
                let connection = Connection {
                    connects: Rc::clone(self),
                    target,
                    state,
                };
                (reply, Some(connection))
            }
            Err(failure) => (Reply::Failed(failure), None),
        }
    }

    /// A connect to the pod's own address: binds the program's socket to the stand-in address and has it connect there.
    ///
    /// A socket keeps an address that it was bound to for its lifetime (`SOCK_BINDADDR_LOCK`), but one that the kernel
    /// has chosen only until its connect fails. So it is bound only if there is a peer to see the address.
    fn bind_to_stand_in(&self, program: &ProgramSocket, target: SocketAddr, stand_in: SocketAddr) -> Reply {
        log::debug!("connect to {target}: to the pod itself, {stand_in}");
        self.trace
            .target(Transport::Tcp, target)
            .ended("left to this machine");
        let is_refused = sock_diag::is_listened_at(stand_in).is_ok_and(|is_listened_at| !is_listened_at);
        let prepared = match is_refused {
            true => program.allow_mapped_addresses(),
            false => program.bind_at(stand_in.ip()),
        };
        match prepared {
            Ok(()) => Reply::StandIn(stand_in),
            Err(error) => Reply::Failed(handshake::socket_failure(target, &error)),
        }
    }

    /// Connects to the session's name server, which is the relay itself.
    async fn connect_to_name_server(
        &self,
        program: &ProgramSocket,
        target: SocketAddr,
    ) -> Result<(Reply, State), ConnectFailure> {
        let (ours, connected) = self.handshakes.connect_here(program, target).await?;
        Ok((connected_reply(program), State::NameServer(ours, connected)))
    }

    /// Has the agent dial any other target.
    async fn dial(
        &self,
        program: ProgramSocket,
        target: SocketAddr,
    ) -> Result<(Reply, State), ConnectFailure> {
        Ok(match self.handshakes.start(program, target).await? {
            Started::Connected(established, program) => {
                (connected_reply(&program), State::Connected(established, program))
            }
            Started::InProgress(in_progress) => (Reply::InProgress, State::InProgress(in_progress)),
        })
    }

    /// Copies bytes between both ends until the connection has ended.
    async fn carry(&self, established: Established, target: SocketAddr) {
        let Established {
            ours,
            stream,
            connected: _connected,
        } = established;
        // a socket without addresses was reset, which the splice notices
        let open = self.connections.register(&ours).ok();
        let is_closed = || {
            open.as_ref()
                .is_some_and(|open| open.is_closed_by_program(&self.closed))
        };
        let outcome =
            kinject_tunnel::splice_until(ours, stream, is_closed, self.connections.session_end()).await;
        log::debug!("{target} {}", words::connection_end(&outcome));
    }

    /// The same for a connection that a forward has accepted; `is_local` tells whether its other end is a socket of this
    /// machine.
    pub(crate) async fn carry_accepted(
        &self,
        ours: TcpStream,
        stream: TunnelStream,
        is_local: bool,
    ) -> SpliceOutcome {
        let open = match is_local {
            // a socket without addresses was reset, which the splice notices
            true => self.connections.register(&ours).ok(),
            false => None,
        };
        let is_closed = || {
            open.as_ref()
                .is_some_and(|open| open.is_closed_by_program(&self.closed))
        };
        kinject_tunnel::splice_until(ours, stream, is_closed, self.connections.session_end()).await
    }

    /// At the session's end: the open connections that programs have closed.
    pub(crate) fn closed_by_programs(&self) -> Vec<u64> {
        self.connections.closed_by_programs(&self.closed)
    }

    /// Waits until these connections have ended.
    pub(crate) async fn wait_until_ended(&self, connections: &[u64]) {
        self.connections.wait_until_ended(connections).await;
    }
}

impl Connection {
    /// Runs until the connection has ended.
    pub(crate) async fn run(self) {
        let Self {
            connects,
            target,
            state,
        } = self;
        let established = match state {
            State::NameServer(ours, _connected) => {
                return names::server::serve(&connects.resolver, ours).await;
            }
            State::Connected(established, program) => {
                drop(program);
                Some(established)
            }
            State::InProgress(in_progress) => connects.handshakes.finish(in_progress).await,
        };
        if let Some(established) = established {
            connects.carry(established, target).await;
        }
    }
}

/// The reply for a finished connect. A non-blocking program learns of it from poll(2).
fn connected_reply(program: &ProgramSocket) -> Reply {
    if program.nonblocking {
        Reply::InProgress
    } else {
        Reply::Connected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::advice::Advice;
    use crate::names::local::LocalNames;
    use crate::test_agent::{DEADLINE, TestAgent};
    use crate::uplink::Reconnector;
    use kinject_protocol::rules::Rule;
    use rustix::net::sockopt::socket_cookie;
    use std::net::Ipv4Addr;
    use std::os::fd::AsFd;
    use tokio::net::TcpSocket;
    use tokio::sync::mpsc;
    use tokio::task::LocalSet;

    const TARGET: &str = "10.96.10.1:80";

    /// Connects of a session that has no tunnel yet, for as long as its reconnector lives.
    async fn without_a_tunnel(rules: Vec<Rule>) -> (Rc<Connects>, Reconnector) {
        let (events, _receiver) = mpsc::channel(8);
        let agent = TestAgent::start().await;
        let (reconnector, uplink) = Reconnector::new(agent.connector(), events.clone());
        let trace = Rc::new(Trace::open(None, Rc::new(Routes::new(rules))).unwrap());
        let resolver = Resolver::new(
            Rc::clone(&uplink),
            Rc::clone(&trace),
            Advice::new(events.clone()),
            LocalNames::new(events),
        );
        let connects = Connects::new(
            Rc::new(Dialer::new(uplink, Rc::clone(&trace))),
            trace,
            Rc::new(resolver),
            Rc::default(),
            DataPorts::open(Ipv4Addr::new(127, 107, 3, 5)).await.unwrap(),
            None,
        );
        (Rc::new(connects), reconnector)
    }

    fn duplicate(socket: &TcpSocket) -> OwnedFd {
        socket.as_fd().try_clone_to_owned().unwrap()
    }

    async fn run(test: impl Future<Output = ()>) {
        tokio::time::timeout(DEADLINE, LocalSet::new().run_until(test))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn connect_in_progress_is_registered_until_it_is_dropped() {
        run(async {
            let (connects, _reconnector) = without_a_tunnel(Vec::new()).await;
            // non-blocking, as tokio's sockets are
            let socket = TcpSocket::new_v4().unwrap();
            let (cookie, target) = (socket_cookie(&socket).unwrap(), TARGET.parse().unwrap());
            let (reply, connection) = connects.connect(Some(duplicate(&socket)), target).await;
            assert_eq!(reply, Reply::InProgress);
            assert_eq!(connects.registry.peer(cookie), Some(target));
            assert!(connection.is_some());
            drop(connection);
            assert_eq!(connects.registry.peer(cookie), None);
        })
        .await;
    }

    #[tokio::test]
    async fn failed_connect_returns_no_connection() {
        run(async {
            let (connects, reconnector) = without_a_tunnel(Vec::new()).await;
            // the session ends
            drop(reconnector);
            let socket = TcpSocket::new_v4().unwrap();
            let (cookie, target) = (socket_cookie(&socket).unwrap(), TARGET.parse().unwrap());
            let (reply, connection) = connects.connect(Some(duplicate(&socket)), target).await;
            assert_eq!(reply, Reply::Failed(ConnectFailure::TunnelDown));
            assert!(connection.is_none());
            assert_eq!(connects.registry.peer(cookie), None);
        })
        .await;
    }

    #[tokio::test]
    async fn connect_covered_by_a_local_rule_is_left_to_this_machine() {
        run(async {
            let rule = Rule::new(Egress::Local, "10.96.0.0/16", None).unwrap();
            let (connects, _reconnector) = without_a_tunnel(vec![rule]).await;
            let socket = TcpSocket::new_v4().unwrap();
            let target = TARGET.parse().unwrap();
            let (reply, connection) = connects.connect(Some(duplicate(&socket)), target).await;
            assert_eq!(reply, Reply::Local);
            assert!(connection.is_none());
        })
        .await;
    }
}
