//! Dials the target of a forward, as a connect of a session's program is dialled: through the agent, or from this
//! machine where a rule or a local answer says so.

use crate::cluster::endpoints::Endpoint;
use crate::cluster::endpoints::pods::{ChosenPod, NoSuchPort};
use crate::dialer::{Dialer, failure_of};
use crate::names::resolver::Resolver;
use crate::routes::{Cause, Routes, Transport};
use crate::uplink::{ActiveTunnel, Ended, Uplink};
use kinject_protocol::control::{Family, Purpose, Reply};
use kinject_protocol::forward::PortProtocol;
use kinject_protocol::rules::Egress;
use kinject_protocol::{ConnectFailure, NameFailure};
use kinject_tunnel::{DatagramStream, TunnelStream};
use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long a connection waits for a tunnel, or for a pod that is ready.
const WAIT: Duration = Duration::from_secs(30);

/// How many addresses of a name are tried.
const MAX_ADDRESSES: usize = 8;

/// Dials targets.
pub(super) struct Connector {
    uplink: Rc<Uplink>,
    dialer: Rc<Dialer>,
    resolver: Rc<Resolver>,
    routes: Rc<Routes>,
    /// Counts connections, for names whose addresses take turns.
    turn: Cell<usize>,
}

/// A connection to a target.
pub(super) enum Connected {
    /// Through the agent.
    Remote(TunnelStream),
    /// From this machine.
    Local(TcpStream),
}

/// A flow of datagrams to a target.
pub(super) enum Opened {
    /// Through the agent.
    Remote(DatagramStream),
    /// From this machine.
    Local(UdpSocket),
}

/// Why a target was not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// Its name cannot be looked up.
    Name(NameFailure),
    /// It was not reached, or has refused.
    Connect(ConnectFailure),
    /// There has been no tunnel for [`WAIT`], or the session ends.
    NoTunnel,
    /// No pod has been ready for [`WAIT`].
    NoPod(String),
    /// The pod has no port of this name.
    NoPort(String),
    /// It is loopback, which is this machine.
    ThisMachine,
}

impl fmt::Display for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::Name(NameFailure::NotFound) => "its name does not exist",
            Self::Name(NameFailure::NoData) => "its name has no address",
            Self::Name(NameFailure::TryAgain) => "no name server answers for its name",
            Self::Name(NameFailure::NoRecovery) => "the name servers refuse to look its name up",
            Self::Connect(failure) => words_of(*failure),
            Self::NoTunnel => "there is no connection to the agent",
            Self::NoPod(whose) => {
                return write!(
                    formatter,
                    "no pod of {whose} has been ready for {} s",
                    WAIT.as_secs()
                );
            }
            Self::NoPort(name) => return write!(formatter, "the pod has no port {name}"),
            Self::ThisMachine => "its address is this machine's loopback",
        };
        formatter.write_str(words)
    }
}

fn words_of(failure: ConnectFailure) -> &'static str {
    match failure {
        ConnectFailure::Refused => "connection refused",
        ConnectFailure::TimedOut => "connection timed out",
        ConnectFailure::HostUnreachable => "no route to host",
        ConnectFailure::NetworkUnreachable => "network is unreachable",
        ConnectFailure::Reset => "connection reset",
        ConnectFailure::PermissionDenied => "permission denied",
        ConnectFailure::AddressNotAvailable => "address not available",
        ConnectFailure::TunnelDown => "the session is over",
        ConnectFailure::Exhausted
        | ConnectFailure::AlreadyReported
        | ConnectFailure::Invalid
        | ConnectFailure::NotAtRest => "out of sockets",
    }
}

impl Connector {
    pub(super) fn new(
        uplink: Rc<Uplink>,
        dialer: Rc<Dialer>,
        resolver: Rc<Resolver>,
        routes: Rc<Routes>,
    ) -> Self {
        Self {
            uplink,
            dialer,
            resolver,
            routes,
            turn: Cell::new(0),
        }
    }

    /// Connects to a target by TCP: of several addresses the first that accepts.
    pub(super) async fn connect(&self, endpoint: &Endpoint) -> Result<Connected, Failed> {
        self.while_there_is_a_tunnel(self.reach(endpoint, PortProtocol::Tcp, async |target| {
            self.connect_to(target).await
        }))
        .await
    }

    /// Opens a flow of datagrams to a target. Whether it takes datagrams shows later.
    pub(super) async fn open(&self, endpoint: &Endpoint) -> Result<Opened, Failed> {
        self.while_there_is_a_tunnel(self.reach(endpoint, PortProtocol::Udp, async |target| {
            self.open_to(target).await
        }))
        .await
    }

    /// The addresses of a host, as a program of the session would find them.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Failed> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let purpose = Purpose::ConfiguredAddressInfo;
        match self.resolver.resolve(host.as_bytes(), Family::Any, purpose).await {
            Reply::Addresses { addresses, .. } => Ok(addresses),
            Reply::NameFailed(failure) => Err(Failed::Name(failure)),
            _ => Err(Failed::Name(NameFailure::NoRecovery)),
        }
    }

    /// Gives up when there has been no tunnel for too long.
    async fn while_there_is_a_tunnel<T>(
        &self,
        reached: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, Failed> {
        tokio::select! {
            biased;
            reached = reached => reached,
            () = self.uplink.is_down_for(WAIT) => Err(Failed::NoTunnel),
        }
    }

    async fn reach<T>(
        &self,
        endpoint: &Endpoint,
        protocol: PortProtocol,
        dial: impl AsyncFn(SocketAddr) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        // a lookup waits less long for a tunnel
        let up = self.uplink.up().await;
        up.map_err(|Ended| Failed::NoTunnel)?;
        match endpoint {
            Endpoint::Host {
                host,
                port,
                takes_turns,
            } => {
                let mut addresses = self.addresses(host).await?;
                if *takes_turns && !addresses.is_empty() {
                    let turn = self.turn.replace(self.turn.get().wrapping_add(1));
                    let count = addresses.len();
                    addresses.rotate_left(turn % count);
                }
                let mut failed = Failed::Name(NameFailure::NoData);
                for address in addresses.into_iter().take(MAX_ADDRESSES) {
                    match dial(SocketAddr::new(address, *port)).await {
                        Ok(reached) => return Ok(reached),
                        Err(error) => failed = error,
                    }
                }
                Err(failed)
            }
            Endpoint::Pods { pods, port } => {
                let chosen = timeout(WAIT, pods.choose(port, protocol)).await;
                let pod: ChosenPod = chosen
                    .map_err(|_| Failed::NoPod(pods.whose().to_owned()))?
                    .map_err(|NoSuchPort| Failed::NoPort(port.to_string()))?;
                let reached = dial(pod.target).await;
                if reached.is_err() {
                    pods.avoid(&pod);
                }
                reached
            }
        }
    }

    /// Which way a target is reached. Programs' connects to loopback stay on this machine, and through a forward nobody
    /// gets there.
    fn egress(&self, target: SocketAddr, transport: Transport) -> Result<Egress, Failed> {
        let ip = target.ip().to_canonical();
        if ip.is_loopback() || ip.is_unspecified() {
            return Err(Failed::ThisMachine);
        }
        let decision = self.routes.decide(target, transport);
        Ok(match decision.cause {
            // no program of this session listens there
            Cause::Pod(_) => Egress::Remote,
            _ => decision.egress,
        })
    }

    async fn connect_to(&self, target: SocketAddr) -> Result<Connected, Failed> {
        match self.egress(target, Transport::Tcp)? {
            Egress::Remote => {
                let dialled = self.dialer.connect(target).await;
                dialled.map(Connected::Remote).map_err(Failed::Connect)
            }
            Egress::Local => {
                let connected = TcpStream::connect(target).await;
                let connected = connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
                connected
                    .map(Connected::Local)
                    .map_err(|error| Failed::Connect(of_io(&error)))
            }
        }
    }

    async fn open_to(&self, target: SocketAddr) -> Result<Opened, Failed> {
        match self.egress(target, Transport::Udp)? {
            Egress::Remote => {
                let target = SocketAddr::new(target.ip().to_canonical(), target.port());
                let opened = self
                    .dialer
                    .dial(async |up: &Rc<ActiveTunnel>| up.tunnel.datagrams(target).await)
                    .await;
                opened
                    .map(Opened::Remote)
                    .map_err(|error| Failed::Connect(failure_of(&error)))
            }
            Egress::Local => {
                let own: IpAddr = match target {
                    SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let opened = async {
                    let socket = UdpSocket::bind((own, 0)).await?;
                    socket.connect(target).await?;
                    Ok(socket)
                };
                opened
                    .await
                    .map(Opened::Local)
                    .map_err(|error: io::Error| Failed::Connect(of_io(&error)))
            }
        }
    }
}

/// The failure of a connect from this machine.
fn of_io(error: &io::Error) -> ConnectFailure {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => ConnectFailure::Refused,
        Some(libc::ETIMEDOUT) => ConnectFailure::TimedOut,
        Some(libc::EHOSTUNREACH) => ConnectFailure::HostUnreachable,
        Some(libc::ENETUNREACH) => ConnectFailure::NetworkUnreachable,
        Some(libc::ECONNRESET) => ConnectFailure::Reset,
        Some(libc::EACCES | libc::EPERM) => ConnectFailure::PermissionDenied,
        Some(libc::EADDRNOTAVAIL) => ConnectFailure::AddressNotAvailable,
        _ => ConnectFailure::Exhausted,
    }
}
