//! `kinject forward`: local ports that lead to targets in the cluster.
//!
//! ```text
//!   bind ──▶ find ──▶ (the agent starts) ──▶ check_names ──▶ serve
//!   local    targets                         hosts
//!   ports    by the API                      by DNS
//! ```
//!
//! The first two steps make nothing in the cluster. The ports stay bound for as long as the session lives, whatever
//! becomes of tunnel and pods: each connection resolves its target anew.
//!
//! - [`bind`]: the local ports. [`peer`]: whether the program at the other end is of this user.
//! - [`connector`]: dials a target, through the agent or, where a rule says so, from this machine.
//! - [`tcp`]: connections. [`udp`]: datagrams, each local peer a [`flow`].
//! - [`socks`]: a SOCKS5 server, whose clients name the target.
//! - [`failures`]: what the user is told of connections that fail.

mod bind;
mod connector;
mod failures;
mod flow;
mod peer;
mod socks;
mod tcp;
mod udp;

use crate::cluster::access::Access;
use crate::cluster::endpoints::{self, Endpoint, FoundTarget};
use crate::connects::Connects;
use crate::dialer::Dialer;
use crate::names::resolver::Resolver;
use crate::report::Failure;
use crate::routes::Routes;
use crate::uplink::Uplink;
use bind::{Bound, Socket};
use connector::{Connector, Failed};
use failures::Failures;
use kinject_protocol::NameFailure;
use kinject_protocol::forward::{
    Forward, ForwardRequest, ForwardTarget, Forwarding, PortProtocol, RemotePort,
};
use kinject_protocol::rules::{Egress, Rule};
use kinject_protocol::session::{Event, Report};
use peer::Peers;
use std::convert::Infallible;
use std::rc::Rc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The local ports, bound and not served yet: connections wait in the backlog.
pub(crate) struct Listeners {
    forwards: Vec<(Forward, Vec<Bound>)>,
    socks: Vec<Bound>,
    peers: Peers,
}

/// The same with targets that the API knows.
pub(crate) struct Forwards {
    forwards: Vec<(Forward, FoundTarget, Vec<Bound>)>,
    socks: Vec<Bound>,
    peers: Peers,
}

/// The parts of the session that forwards use.
pub(crate) struct Parts {
    /// The tunnel.
    pub(crate) uplink: Rc<Uplink>,
    /// Dials through it.
    pub(crate) dialer: Rc<Dialer>,
    /// Looks names up.
    pub(crate) resolver: Rc<Resolver>,
    /// Decides which way a target is reached.
    pub(crate) routes: Rc<Routes>,
    /// Knows the open connections, whose data is delivered when the session ends.
    pub(crate) connects: Rc<Connects>,
    /// The launcher.
    pub(crate) events: mpsc::Sender<Event>,
}

/// Forwards that can be served.
pub(crate) struct CheckedForwards {
    forwards: Vec<(Forward, FoundTarget, Vec<Bound>)>,
    socks: Vec<Bound>,
    shared: Rc<Shared>,
}

/// What all listeners share.
struct Shared {
    connector: Connector,
    connects: Rc<Connects>,
    peers: Peers,
    events: mpsc::Sender<Event>,
}

impl Listeners {
    /// Binds the local ports.
    pub(crate) fn bind(request: &ForwardRequest) -> Result<Self, Failure> {
        let peers = Peers::new()?;
        let forwards = request.forwards.iter().map(|forward| {
            let bound = bind::all(&request.addresses, forward.local, forward.protocol)?;
            Ok((forward.clone(), bound))
        });
        let forwards = forwards.collect::<Result<_, Failure>>()?;
        let socks = match request.socks {
            Some(socks) => bind::all(&[socks.address], socks.port, PortProtocol::Tcp)?,
            None => Vec::new(),
        };
        Ok(Self {
            forwards,
            socks,
            peers,
        })
    }

    /// Finds the targets that the API knows; an agent that was started by hand has none. A name that a rule makes this
    /// machine's is not looked for.
    pub(crate) async fn find(
        self,
        access: Option<&Access>,
        rules: &[Rule],
        events: &mpsc::Sender<Event>,
    ) -> Result<Forwards, Failure> {
        let mut forwards = Vec::new();
        for (forward, bound) in self.forwards {
            // a launcher that reads slowly misses a progress message and nothing else
            let looking = Event::Progress(format!("looking for {}", forward.target));
            let _missed = events.try_send(looking).is_err();
            let mut found = match access {
                Some(access) if !is_local(&forward.target, rules) => {
                    endpoints::find(access, &forward).await?
                }
                _ => host(&forward)?,
            };
            let mut reports: Vec<Report> = found.warning.take().into_iter().collect();
            if let Endpoint::Pods { pods, .. } = &found.endpoint
                && !pods.look().await?
            {
                reports.push(Report {
                    message: format!("{} has no pod that is ready", pods.whose()),
                    hint: Some("connections wait for one, for up to 30 s each".to_owned()),
                });
            }
            for report in reports {
                // a launcher that is gone receives nothing
                let _launcher_gone = events.send(Event::Notice(report)).await.is_err();
            }
            forwards.push((forward, found, bound));
        }
        Ok(Forwards {
            forwards,
            socks: self.socks,
            peers: self.peers,
        })
    }
}

/// Whether a target is a name that a rule makes this machine's.
fn is_local(target: &ForwardTarget, rules: &[Rule]) -> bool {
    let ForwardTarget::Host(host) = target else {
        return false;
    };
    let rule = rules.iter().find(|rule| rule.covers_name(host));
    rule.is_some_and(|rule| rule.egress == Egress::Local)
}

/// A target of which Kubernetes is not asked.
fn host(forward: &Forward) -> Result<FoundTarget, Failure> {
    match (&forward.target, &forward.remote) {
        (ForwardTarget::Host(host), RemotePort::Number(port)) => Ok(FoundTarget::host(host, *port, forward)),
        (target, port) => Err(Failure::lasting(
            format!("the port {port} of {target} is not known: Kubernetes is not asked for it"),
            "write the name of a host and the number of its port",
        )),
    }
}

impl Forwards {
    /// Looks up the hosts, for which the tunnel is needed. One that does not exist is a failure; one that cannot be
    /// looked up may exist later.
    pub(crate) async fn check_names(self, parts: Parts) -> Result<CheckedForwards, Failure> {
        let connector = Connector::new(parts.uplink, parts.dialer, parts.resolver, parts.routes);
        for (_, found, _) in &self.forwards {
            let Endpoint::Host { host, .. } = &found.endpoint else {
                continue;
            };
            match connector.addresses(host).await {
                Ok(_) => {}
                Err(Failed::Name(NameFailure::NotFound)) => {
                    return Err(Failure::lasting(
                        format!("there is no host {host}: neither the cluster nor this machine knows it"),
                        "check its spelling; a service of another namespace is NAME.NAMESPACE",
                    ));
                }
                Err(failed) => {
                    let report = Report {
                        message: format!("{}: {failed}", found.shown),
                        hint: Some("connections look it up again".to_owned()),
                    };
                    // a launcher that is gone receives nothing
                    let _launcher_gone = parts.events.send(Event::Notice(report)).await.is_err();
                }
            }
        }
        Ok(CheckedForwards {
            forwards: self.forwards,
            socks: self.socks,
            shared: Rc::new(Shared {
                connector,
                connects: parts.connects,
                peers: self.peers,
                events: parts.events,
            }),
        })
    }
}

impl CheckedForwards {
    /// Serves all of them by tasks, and tells the launcher where they listen.
    pub(crate) async fn serve(self, tasks: &mut JoinSet<Infallible>) {
        let Self {
            forwards,
            socks,
            shared,
        } = self;
        for (forward, found, bound) in forwards {
            if let Endpoint::Pods { pods, .. } = &found.endpoint {
                let pods = Rc::clone(pods);
                tasks.spawn_local(async move { pods.follow().await });
            }
            if let Some(first) = bound.first() {
                shared
                    .listens(Forwarding::To {
                        local: first.address,
                        protocol: forward.protocol,
                        target: found.shown.clone(),
                    })
                    .await;
            }
            for bound in bound {
                let name = format!(
                    "{}{} -> {}",
                    bound.address,
                    forward.protocol.suffix(),
                    found.shown
                );
                let failures = Failures::new(name, shared.events.clone());
                let (shared, endpoint) = (Rc::clone(&shared), found.endpoint.clone());
                match bound.socket {
                    Socket::Tcp(listener) => {
                        tasks.spawn_local(tcp::serve(shared, listener, endpoint, failures));
                    }
                    Socket::Udp(socket) => {
                        tasks.spawn_local(udp::serve(shared, socket, endpoint, failures));
                    }
                }
            }
        }
        if let Some(first) = socks.first() {
            shared.listens(Forwarding::Socks(first.address)).await;
        }
        for bound in socks {
            let failures = Failures::new(format!("{} by SOCKS5", bound.address), shared.events.clone());
            if let Socket::Tcp(listener) = bound.socket {
                tasks.spawn_local(socks::serve(Rc::clone(&shared), listener, failures));
            }
        }
    }
}

impl Shared {
    async fn listens(&self, forwarding: Forwarding) {
        // a launcher that is gone receives nothing
        let _launcher_gone = self.events.send(Event::Forwarding(forwarding)).await.is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_that_the_first_matching_rule_makes_local_is_not_looked_for_in_the_cluster() {
        let rules = [
            Rule::new(Egress::Remote, "db.office", None).unwrap(),
            Rule::new(Egress::Local, "*.office", None).unwrap(),
            Rule::new(Egress::Local, "build7", None).unwrap(),
        ];
        let is_local = |host: &str| is_local(&ForwardTarget::Host(host.to_owned()), &rules);
        assert!(is_local("wiki.office") && is_local("build7"));
        assert!(!is_local("db.office") && !is_local("web"));
        let service = ForwardTarget::Service {
            name: "build7".into(),
            namespace: None,
        };
        assert!(!super::is_local(&service, &rules));
    }
}
