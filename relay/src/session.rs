//! One session: brings it up, builds its parts, and winds it up.

use crate::cluster::access::Access;
use crate::cluster::agent::ClusterAgent;
use crate::cluster::networks;
use crate::connects::Connects;
use crate::control::dispatch::Dispatch;
use crate::control::listener::{ControlListener, ControlSockets};
use crate::data::ports::DataPorts;
use crate::datagrams::Flows;
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
use crate::trace::Trace;
use crate::uninjectable::UninjectableReports;
use crate::uplink::{ActiveTunnel, Connector, Reconnector, Uplink};
use ipnet::IpNet;
use kinject_protocol::control::SessionAddresses;
use kinject_protocol::environment::RESOLV_CONF;
use kinject_protocol::folder;
use kinject_protocol::session::{Confidential, Event, Ready, Report, SessionConfig, Target};
use kinject_tunnel::Security;
use std::cell::OnceCell;
use std::convert::Infallible;
use std::os::unix::ffi::OsStrExt;
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

/// What has to be drained when a session ends.
struct Session {
    uplink: Rc<Uplink>,
    connects: Rc<Connects>,
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
    let left = session.connects.left_behind();
    let settled = async {
        session.connects.until_over(&left).await;
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
) -> Result<(Session, JoinSet<Infallible>), Failure> {
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
            "check that the disk is not full and the path not longer than 107 bytes: XDG_RUNTIME_DIR names the folder for sessions",
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
            "check that the disk is not full",
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
                "check that the file is still there",
            )
        })?;
    let resolver = Rc::new(Resolver::new(
        Rc::clone(&uplink),
        Rc::clone(&trace),
        Advice::new(events.clone()),
        LocalNames::new(events.clone()),
    ));
    let registry = Rc::new(Registry::default());
    let dialer = Rc::new(Dialer::new(Rc::clone(&uplink), Rc::clone(&trace)));
    let connects = Rc::new(Connects::new(
        Rc::clone(&dialer),
        Rc::clone(&trace),
        Rc::clone(&resolver),
        Rc::clone(&registry),
        ports,
        network,
    ));
    let flows = Rc::new(Flows::new(
        dialer,
        trace,
        Rc::clone(&resolver),
        network,
        addresses.data,
    ));
    let dispatch = Rc::new(Dispatch {
        uplink: Rc::clone(&uplink),
        routes: Rc::clone(&routes),
        registry,
        connects: Rc::clone(&connects),
        flows: Rc::clone(&flows),
        resolver: Rc::clone(&resolver),
        uninjectable: UninjectableReports::new(events.clone(), &config.library),
        resolv_conf: config.folder.join(RESOLV_CONF),
    });
    // a launcher that is gone shows as the end of its orders
    let _unheard = events.send(Event::Ready(ready)).await.is_err();
    // tasks of their own, not parts of the runtime's main future: waking that one costs a system call
    let mut tasks = JoinSet::new();
    let renewed = Rc::clone(&routes);
    tasks.spawn_local(reconnector.run(established, move |up| {
        note_pod(&renewed, up);
        resolver.forget();
    }));
    tasks.spawn_local(async move {
        routes.set_api_networks(networks.await);
        std::future::pending().await
    });
    let watched = Rc::clone(&connects);
    tasks.spawn_local(async move { watched.watch().await });
    let ticking = Rc::clone(&connects);
    tasks.spawn_local(async move { ticking.tick().await });
    tasks.spawn_local(async move { flows.watch().await });
    for listener in control.listeners {
        tasks.spawn_local(Rc::clone(&dispatch).serve(listener));
    }
    let session = Session { uplink, connects };
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
            let agent = Rc::new(ClusterAgent::new(
                access,
                &config.session,
                target,
                events.clone(),
            )?);
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
