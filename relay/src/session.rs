//! One session: everything that the programs under it share.

use crate::cluster::access::Access;
use crate::cluster::agent::ClusterAgent;
use crate::cluster::networks;
use crate::control::connect;
use crate::control::conversation::Conversation;
use crate::control::listener::{ControlListener, ControlSockets, network_of};
use crate::data::ports::DataPorts;
use crate::datagrams::{self, Flows};
use crate::dialer::Dialer;
use crate::log;
use crate::names::advice::Advice;
use crate::names::local::LocalNames;
use crate::names::pod_resolv_conf::PodResolvConf;
use crate::names::resolver::Resolver;
use crate::registry::Registry;
use crate::report::Failure;
use crate::routes::{Pod, Routes, SessionListeners};
use crate::shutdown::ShutdownRequests;
use crate::socket_watch::closed::ClosedSockets;
use crate::socket_watch::connecting::ConnectingSockets;
use crate::socket_watch::connections::OpenConnections;
use crate::ticker::Ticker;
use crate::trace::Trace;
use crate::uninjectable::UninjectableReports;
use crate::uplink::{ActiveTunnel, Connector, Reconnector, Uplink};
use ipnet::IpNet;
use kinject_protocol::control::{Reply, Request, SessionAddresses};
use kinject_protocol::environment::RESOLV_CONF;
use kinject_protocol::folder;
use kinject_protocol::session::{Confidential, Event, Ready, Report, SessionConfig, Target};
use kinject_tunnel::Security;
use std::cell::OnceCell;
use std::convert::Infallible;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The name of the control socket in the session's folder.
const SOCKET_NAME: &str = "control.sock";

/// How often the runtime asks for news before what programs left in sockets counts as read.
const TURNS: u8 = 4;

/// How long to wait for what programs have left without telling the user.
const WITHOUT_A_WORD: Duration = Duration::from_secs(2);

/// What the calls of the session's programs work with.
pub(crate) struct Session {
    /// The way to the agent.
    pub(crate) uplink: Rc<Uplink>,
    /// Dials over it.
    pub(crate) dialer: Dialer,
    /// Which targets go that way.
    pub(crate) routes: Rc<Routes>,
    /// Who wants to know.
    pub(crate) trace: Rc<Trace>,
    /// The sockets that were connected.
    pub(crate) registry: Registry,
    /// The connections that they have open.
    pub(crate) connections: OpenConnections,
    /// Where programs' sockets are connected to.
    pub(crate) ports: DataPorts,
    /// The connects that programs may give up.
    pub(crate) connecting: ConnectingSockets,
    /// The sockets that programs have closed.
    pub(crate) closed: ClosedSockets,
    /// Bounds how long a blocking connect waits for its answer.
    pub(crate) ticker: Ticker,
    /// Names.
    pub(crate) resolver: Resolver,
    uninjectable: UninjectableReports,
    /// The datagrams of programs.
    pub(crate) flows: Flows,
    /// The resolv.conf that programs see.
    resolv_conf: PathBuf,
    /// The relay's network namespace.
    network: Option<u64>,
}

impl Session {
    /// Whether a program's socket is of another network namespace: nothing here can reach it, and its connections are
    /// those of that namespace.
    pub(crate) fn is_elsewhere(&self, socket: &OwnedFd) -> bool {
        match (self.network, network_of(socket.as_fd())) {
            (Some(own), Some(its)) => own != its,
            _ => false,
        }
    }

    /// What the socket was connected to.
    fn peer(&self, cookie: u64) -> Option<SocketAddr> {
        self.registry.peer(cookie).or_else(|| self.flows.peer(cookie))
    }

    /// The address of the pod that this peer sees, without a port.
    fn own_address(&self, cookie: u64) -> Option<SocketAddr> {
        let failed = || self.registry.failed_target(cookie);
        let peer = self.peer(cookie).or_else(failed)?;
        let mut own = SocketAddr::new(self.uplink.source_for(peer.ip())?, 0);
        if let (SocketAddr::V6(own), SocketAddr::V6(peer)) = (&mut own, peer)
            && own.ip().is_unicast_link_local()
        {
            own.set_scope_id(peer.scope_id());
        }
        Some(own)
    }
}

/// What has to be undone in the cluster when a session ends, known as soon as there is something.
#[derive(Default)]
pub(crate) struct CleanUp(OnceCell<Rc<ClusterAgent>>);

impl CleanUp {
    /// Removes what was made.
    pub(crate) async fn run(&self) -> Result<(), Report> {
        match self.0.get() {
            Some(agent) => agent.clean_up().await,
            None => Ok(()),
        }
    }
}

/// Brings a session up and serves it until it is over.
pub(crate) async fn run(
    config: &SessionConfig,
    events: &mpsc::Sender<Event>,
    clean_up: &CleanUp,
    shutdown: &mut ShutdownRequests,
) -> Result<(), Failure> {
    let (session, mut tasks) = tokio::select! {
        up = bring_up(config, events, clean_up) => up?,
        _ = shutdown.next() => return Ok(()),
    };
    let ending = tokio::select! {
        ended = tasks.join_next() => return match ended {
            Some(Ok(ended)) => match ended {},
            Some(Err(error)) => Err(Failure::lasting(
                format!("the relay failed: {error}"),
                "report this",
            )),
            None => Err(Failure::lasting("the relay has nothing to do", "report this")),
        },
        ending = shutdown.next() => ending,
    };
    // the tasks go on meanwhile
    let mut drained = pin!(drain(&session, events));
    let mut deadline = Instant::now() + ending.patience();
    loop {
        tokio::select! {
            () = &mut drained => return Ok(()),
            () = tokio::time::sleep_until(deadline) => {
                log::warn!("not everything that programs said before they ended has been taken in time");
                return Ok(());
            }
            ending = shutdown.next() => deadline = deadline.min(Instant::now() + ending.patience()),
        }
    }
}

/// Sees to it that the agent has what programs said before they ended, and tells the user if that takes long.
async fn drain(session: &Session, events: &mpsc::Sender<Event>) {
    // what waits in sockets is read first
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
    let left = session.connections.left_behind(&session.closed);
    let settled = async {
        session.connections.until_over(&left).await;
        if let Some(up) = session.uplink.now() {
            // an error means that the tunnel is lost, and with it what was on its way
            let _lost = up.tunnel.settle().await.is_err();
        }
    };
    tokio::pin!(settled);
    if tokio::time::timeout(WITHOUT_A_WORD, &mut settled).await.is_err() {
        let message = match left.len() {
            0 => "the agent takes long to say that it has everything".to_owned(),
            count => format!(
                "what the program sent before it ended is still on its way: {count} connection{}",
                if count == 1 { "" } else { "s" }
            ),
        };
        let report = Report {
            message,
            hint: Some("Ctrl-C does not wait".to_owned()),
        };
        // a launcher that is gone reads no notices
        let _unheard = events.send(Event::Notice(report)).await.is_err();
        settled.await;
    }
}

/// Brings a session up.
async fn bring_up(
    config: &SessionConfig,
    events: &mpsc::Sender<Event>,
    clean_up: &CleanUp,
) -> Result<(Rc<Session>, JoinSet<Infallible>), Failure> {
    folder::check(&config.folder, rustix::process::geteuid().as_raw()).map_err(|error| {
        Failure::lasting(
            format!(
                "the session's folder {} cannot be used: {error}",
                kinject_escape::path(&config.folder)
            ),
            "it and the folder around it have to be yours alone: `chmod 700` both",
        )
    })?;
    let socket = config.folder.join(SOCKET_NAME);
    let control = ControlSockets::bind(&socket).map_err(|error| {
        Failure::lasting(
            format!("cannot listen at {}: {error}", kinject_escape::path(&socket)),
            "is the disk full, or the path longer than 107 bytes? XDG_RUNTIME_DIR names the folder for sessions",
        )
    })?;
    let address = control.address;
    let network = control.listeners.first().and_then(ControlListener::network);
    let number = u32::from_str_radix(&config.session, 16).unwrap_or_default();
    let addresses = SessionAddresses::of(number);
    let ports = DataPorts::open(addresses.data).await?;
    let (connector, target_name) = connector(config, events, clean_up).await?;
    // read while the agent comes up
    let networks =
        tokio::task::spawn_local(api_networks(clean_up.0.get().map(|agent| agent.access().clone())));
    let networks = async { networks.await.unwrap_or_default() };
    let (reconnector, uplink) = Reconnector::new(connector, events.clone());
    let established = reconnector.connect().await?;
    let ready = Ready {
        cluster: target_name.cluster,
        namespace: target_name.namespace,
        transport: established.way.transport.to_owned(),
        tls: established.way.security == Security::Tls,
        not_by_proxy: established.way.not_by_proxy.clone(),
        socket,
        control: Confidential(address.clone()),
    };
    let shown = PodResolvConf::of_pod(&established.resolv_conf);
    shown.write(&config.folder).map_err(|error| {
        Failure::lasting(
            format!(
                "cannot write to {}: {error}",
                kinject_escape::path(&config.folder)
            ),
            "is the disk full?",
        )
    })?;
    let routes = Rc::new(Routes::new(config.rules.clone()).with_name_servers(shown.servers));
    let is_pod = matches!(config.target, Target::Kubernetes(_));
    // an agent that somebody runs by hand may well stand in this machine's own network
    let shared_with = (!is_pod).then(|| Rc::new(SessionListeners::of(&address, &config.library)));
    let note_pod = move |routes: &Routes, up: &ActiveTunnel| {
        routes.set_pod(Pod::new(
            up.addresses.iter().copied(),
            addresses,
            shared_with.clone(),
        ));
        if is_pod {
            routes.add_pod_networks(&up.names.networks);
        }
    };
    note_pod(&routes, &established.up);
    let trace = Trace::open(config.trace.as_ref(), Rc::clone(&routes))
        .map(Rc::new)
        .map_err(|error| {
            Failure::lasting(
                format!("cannot write the trace: {error}"),
                "is the file still there?",
            )
        })?;
    let session = Rc::new(Session {
        resolver: Resolver::new(
            Rc::clone(&uplink),
            Rc::clone(&trace),
            Advice::new(events.clone()),
            LocalNames::new(events.clone()),
        ),
        dialer: Dialer::new(Rc::clone(&uplink), Rc::clone(&trace)),
        uplink,
        routes,
        trace,
        registry: Registry::default(),
        connections: OpenConnections::default(),
        flows: Flows::new(addresses.data),
        ports,
        connecting: ConnectingSockets::default(),
        closed: ClosedSockets::new(),
        ticker: Ticker::new(connect::QUICK),
        uninjectable: UninjectableReports::new(events.clone(), &config.library),
        resolv_conf: config.folder.join(RESOLV_CONF),
        network,
    });
    // a launcher that is gone shows as the end of its orders
    let _unheard = events.send(Event::Ready(ready)).await.is_err();
    // tasks of their own, not parts of the runtime's main future: waking that one costs a system call
    let mut tasks = JoinSet::new();
    let renewed = Rc::clone(&session);
    tasks.spawn_local(reconnector.run(established, move |up| {
        note_pod(&renewed.routes, up);
        renewed.resolver.forget();
    }));
    let told = Rc::clone(&session);
    tasks.spawn_local(async move {
        told.routes.set_api_networks(networks.await);
        std::future::pending().await
    });
    let watched = Rc::clone(&session);
    tasks.spawn_local(async move { watched.connecting.run().await });
    let ticking = Rc::clone(&session);
    tasks.spawn_local(async move { ticking.ticker.run().await });
    let flows = Rc::clone(&session);
    tasks.spawn_local(async move { flows.flows.watch().await });
    for listener in control.listeners {
        tasks.spawn_local(serve(Rc::clone(&session), listener));
    }
    Ok((session, tasks))
}

struct TargetName {
    cluster: String,
    namespace: Option<String>,
}

async fn connector(
    config: &SessionConfig,
    events: &mpsc::Sender<Event>,
    clean_up: &CleanUp,
) -> Result<(Connector, TargetName), Failure> {
    match &config.target {
        Target::Direct { endpoint, key, tls } => {
            let connector = Connector::direct(endpoint, key, *tls)?;
            Ok((
                connector,
                TargetName {
                    cluster: kinject_escape::bytes(endpoint.as_bytes()),
                    namespace: None,
                },
            ))
        }
        Target::Kubernetes(target) => {
            let access = Access::new(target).await?;
            let agent = Rc::new(ClusterAgent::new(access, &config.session, target, events.clone()));
            let agent = Rc::clone(clean_up.0.get_or_init(|| agent));
            let place = TargetName {
                cluster: agent.access().cluster.clone(),
                namespace: Some(agent.access().namespace.clone()),
            };
            Ok((Connector::Cluster(agent), place))
        }
    }
}

/// The cluster's networks as its API tells them, where there is one.
async fn api_networks(access: Option<Access>) -> Vec<IpNet> {
    match access {
        Some(access) => networks::read(&access).await,
        None => Vec::new(),
    }
}

/// Serves calls, each in a task of its own so that none waits for another.
async fn serve(session: Rc<Session>, listener: ControlListener) -> Infallible {
    loop {
        let call = listener.accept().await;
        let session = Rc::clone(&session);
        tokio::task::spawn_local(async move { answer(&session, call).await });
        // the call first: looking for another one can wait for its first steps
        tokio::task::yield_now().await;
    }
}

async fn answer(session: &Rc<Session>, call: Conversation) {
    let received = match call.receive().await {
        Ok(Some(received)) => received,
        Ok(None) => return,
        Err(error) => return log::warn!("a call was cut short: {error}"),
    };
    let request = match Request::decode(received.bytes()) {
        Ok(request) => request,
        Err(error) => return log::warn!("a call that makes no sense: {error}"),
    };
    let reply = match request {
        Request::Connect { target } => return connect::serve(session, call, received.socket, target).await,
        Request::Peer { cookie } => session.peer(cookie).map_or(Reply::Unknown, Reply::Peer),
        Request::OwnAddress { cookie } => session.own_address(cookie).map_or(Reply::Unknown, Reply::Peer),
        Request::Flow { target, connect } => {
            return datagrams::serve(session, &call, received.socket, target, connect).await;
        }
        Request::Source { cookie, address } => session
            .flows
            .source(cookie, address)
            .map_or(Reply::Unknown, Reply::Peer),
        Request::Disconnect { cookie } => session
            .registry
            .dissolved(cookie)
            .map_or(Reply::Noted, Reply::Failed),
        Request::Bind { address } => session
            .routes
            .stand_in(address)
            .map_or(Reply::Local, Reply::StandIn),
        Request::PodAddress { address } => session
            .routes
            .pod_address(address)
            .map_or(Reply::Unknown, Reply::Peer),
        Request::ShutDown { cookie } => {
            session.registry.shut_down(cookie);
            Reply::Noted
        }
        Request::Failure { cookie } => session
            .registry
            .report_failure(cookie)
            .map_or(Reply::Unknown, Reply::Failed),
        Request::Resolve {
            family,
            purpose,
            name,
        } => session.resolver.resolve(name, family, purpose).await,
        Request::Query { way, search, message } => match search {
            Some(search) => session.resolver.search(way, message, search).await,
            None => session.resolver.query(way, message).await,
        },
        Request::Reverse { address } => session.resolver.reverse(address).await,
        Request::ResolvConf => match File::open(&session.resolv_conf) {
            Ok(file) => return connect::note(call.reply_with(file.as_fd())),
            Err(error) => {
                log::warn!(
                    "cannot open {}: {error}",
                    kinject_escape::path(&session.resolv_conf)
                );
                Reply::Unknown
            }
        },
        Request::Uninjectable {
            blocker,
            is_refused,
            program,
        } => {
            session.uninjectable.report(blocker, is_refused, program).await;
            Reply::Noted
        }
    };
    connect::answer(&call, &reply);
}
