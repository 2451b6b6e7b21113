//! One session: starts it, connects its parts, and drains it at the end.

use crate::cluster::access::Access;
use crate::cluster::agent::ClusterAgent;
use crate::cluster::networks;
use crate::connects::Connects;
use crate::control::dispatch::Dispatch;
use crate::control::listener::{ControlListener, ControlSockets};
use crate::data::ports::DataPorts;
use crate::datagrams::Flows;
use crate::dialer::Dialer;
use crate::forward::{Listeners, Parts};
use crate::log;
use crate::names::advice::Advice;
use crate::names::local::LocalNames;
use crate::names::pod_resolv_conf::PodResolvConf;
use crate::names::resolver::Resolver;
use crate::registry::Registry;
use crate::report::Failure;
use crate::routes::{Pod, Routes, SessionListeners};
use crate::shutdown::ShutdownRequests;
use crate::stand_in;
use crate::trace::Trace;
use crate::uninjectable::UninjectableReports;
use crate::uplink::{ActiveTunnel, Connector, Reconnector, Uplink};
use ipnet::IpNet;
use kinject_protocol::control::SessionAddresses;
use kinject_protocol::environment::RESOLV_CONF;
use kinject_protocol::folder;
use kinject_protocol::session::{Confidential, Event, Ready, Report, SessionConfig, Target};
use kinject_protocol::workload::WorkloadRequest;
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

/// How many times the runtime polls for events before the bytes that programs left in sockets count as read.
const EVENT_POLLS: u8 = 4;

/// How long the drain may take before the user is notified.
const NOTICE_DELAY: Duration = Duration::from_secs(2);

/// What has to be drained when a session ends.
struct Session {
    uplink: Rc<Uplink>,
    connects: Rc<Connects>,
}

/// What has to be removed from the cluster when a session ends, set as soon as something is created.
#[derive(Default)]
pub(crate) struct CleanUp(OnceCell<Rc<ClusterAgent>>);

impl CleanUp {
    /// Removes what was created.
    pub(crate) async fn run(&self) -> Result<(), Report> {
        match self.0.get() {
            Some(agent) => agent.clean_up().await,
            None => Ok(()),
        }
    }
}

/// Starts a session and serves it until it ends.
pub(crate) async fn run(
    config: &SessionConfig,
    events: &mpsc::Sender<Event>,
    clean_up: &CleanUp,
    shutdown: &mut ShutdownRequests,
) -> Result<(), Failure> {
    let (session, mut tasks) = tokio::select! {
        up = start(config, events, clean_up) => up?,
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
    // the tasks continue meanwhile
    let mut drained = pin!(drain(&session, events));
    let mut deadline = Instant::now() + ending.drain_timeout();
    loop {
        tokio::select! {
            () = &mut drained => return Ok(()),
            () = tokio::time::sleep_until(deadline) => {
                log::warn!("not all data of ended programs was delivered in time");
                return Ok(());
            }
            ending = shutdown.next() => deadline = deadline.min(Instant::now() + ending.drain_timeout()),
        }
    }
}

/// Waits until the agent has all bytes that programs sent before they ended; notifies the user if that takes long.
async fn drain(session: &Session, events: &mpsc::Sender<Event>) {
    // reads the bytes that wait in sockets first
    for _ in 0..EVENT_POLLS {
        tokio::task::yield_now().await;
    }
    let closed = session.connects.closed_by_programs();
    let settled = async {
        session.connects.wait_until_ended(&closed).await;
        if let Some(up) = session.uplink.now() {
            // an error means that the tunnel is lost, and the bytes in flight with it
            let _lost = up.tunnel.settle().await.is_err();
        }
    };
    tokio::pin!(settled);
    if tokio::time::timeout(NOTICE_DELAY, &mut settled).await.is_err() {
        let message = match closed.len() {
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
        let _launcher_gone = events.send(Event::Notice(report)).await.is_err();
        settled.await;
    }
}

/// Starts a session.
async fn start(
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
    // nothing is made in the cluster for a local port that is taken
    let listeners = config.forward.as_ref().map(Listeners::bind).transpose()?;
    let socket = config.folder.join(SOCKET_NAME);
    let control = ControlSockets::bind(&socket, events.clone()).map_err(|error| {
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
    let forwards = match listeners {
        Some(listeners) => Some(
            listeners
                .find(
                    clean_up.0.get().map(|agent| agent.access()),
                    &config.rules,
                    events,
                )
                .await?,
        ),
        None => None,
    };
    // read while the agent starts
    let networks =
        tokio::task::spawn_local(api_networks(clean_up.0.get().map(|agent| agent.access().clone())));
    let networks = async { networks.await.unwrap_or_default() };
    let (reconnector, uplink) = Reconnector::new(connector, events.clone());
    let established = reconnector.connect().await?;
    let mut ready = Ready {
        cluster: target_name.cluster,
        namespace: target_name.namespace,
        transport: established.transport.name.to_owned(),
        tls: established.transport.security == Security::Tls,
        not_by_proxy: established.transport.not_by_proxy.clone(),
        socket,
        control: Confidential(address.clone()),
        workload: None,
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
    // an agent that was started by hand may be in this machine's own network
    let shared_with = (!is_pod).then(|| Rc::new(SessionListeners::of(&address, &config.library)));
    let set_pod = move |routes: &Routes, up: &ActiveTunnel| {
        routes.set_pod(Pod::new(
            up.addresses.iter().copied(),
            addresses,
            shared_with.clone(),
        ));
        if is_pod {
            routes.add_pod_networks(&up.names.networks);
        }
    };
    set_pod(&routes, &established.up);
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
    // separate tasks, not parts of the runtime's main future: waking that one costs a system call
    let mut tasks = JoinSet::new();
    let agent = clean_up.0.get().cloned();
    let set_hosts = move |resolver: &Resolver, up: &ActiveTunnel| {
        if let Some(agent) = &agent {
            resolver.set_pod_hosts(agent.pod_hosts(&up.names.conf.search));
        }
    };
    set_hosts(&resolver, &established.up);
    let (reconnected, renewed) = (Rc::clone(&routes), Rc::clone(&resolver));
    tasks.spawn_local(reconnector.run(established, move |up| {
        set_pod(&reconnected, up);
        set_hosts(&renewed, up);
        renewed.forget();
    }));
    let mut files = None;
    if let (Some(agent), Some(request)) = (clean_up.0.get(), workload_request(&config.target)) {
        let stand_in = stand_in::gather(agent, request, &uplink, &config.folder, events).await?;
        ready.workload = Some(stand_in.workload);
        files = stand_in.files;
    }
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
    let forwards = match forwards {
        Some(forwards) => {
            let parts = Parts {
                uplink: Rc::clone(&uplink),
                dialer: Rc::clone(&dialer),
                resolver: Rc::clone(&resolver),
                routes: Rc::clone(&routes),
                connects: Rc::clone(&connects),
                events: events.clone(),
            };
            Some(forwards.check_names(parts).await?)
        }
        None => None,
    };
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
        files: files.clone(),
        resolv_conf: config.folder.join(RESOLV_CONF),
    });
    // a launcher that is gone is noticed by the end of its orders
    let _launcher_gone = events.send(Event::Ready(ready)).await.is_err();
    if let Some(forwards) = forwards {
        forwards.serve(&mut tasks).await;
    }
    tasks.spawn_local(async move {
        routes.set_api_networks(networks.await);
        std::future::pending().await
    });
    let watched = Rc::clone(&connects);
    tasks.spawn_local(async move { watched.watch().await });
    tasks.spawn_local(async move { flows.watch().await });
    if let Some(files) = files {
        tasks.spawn_local(files.follow());
    }
    for listener in control.listeners {
        tasks.spawn_local(Rc::clone(&dispatch).serve(listener));
    }
    let session = Session { uplink, connects };
    Ok((session, tasks))
}

/// The workload that the user names, if any.
fn workload_request(target: &Target) -> Option<&WorkloadRequest> {
    match target {
        Target::Direct { .. } => None,
        Target::Kubernetes(target) => target.workload.as_ref(),
    }
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
            let name = TargetName {
                cluster: agent.access().cluster.clone(),
                namespace: Some(agent.access().namespace.clone()),
            };
            Ok((Connector::Cluster(agent), name))
        }
    }
}

/// The cluster's networks from its API, if there is one.
async fn api_networks(access: Option<Access>) -> Vec<IpNet> {
    match access {
        Some(access) => networks::read(&access).await,
        None => Vec::new(),
    }
}
