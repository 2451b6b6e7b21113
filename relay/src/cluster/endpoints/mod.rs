//! The Services and pods to which forwards lead, as the API has them: found before anything is made in the cluster.
//!
//! - [`service`]: the port of a Service, and whether its own address or its pods are dialled.
//! - [`pods`]: the pods of a workload, followed while they come and go.
//! - [`ports`]: ports by number and by name.

pub(crate) mod pods;
mod ports;
mod service;

use super::access::Access;
use super::review::Right;
use super::workload::find::{self, PodsOf};
use super::workload::rights;
use crate::report::Failure;
use kinject_protocol::forward::{Forward, ForwardTarget, RemotePort};
use kinject_protocol::session::Report;
use kinject_protocol::workload::{WorkloadKind, WorkloadName};
use pods::{PodFilter, PodSet};
use std::rc::Rc;

/// What a forward dials for each connection.
#[derive(Clone)]
pub(crate) enum Endpoint {
    /// A name, which is resolved each time, or an address.
    Host {
        /// The name or address.
        host: String,
        /// The port.
        port: u16,
        /// Whether its addresses take turns, as those of a headless Service do.
        takes_turns: bool,
    },
    /// A ready pod.
    Pods {
        /// The pods.
        pods: Rc<PodSet>,
        /// The port of each of them.
        port: RemotePort,
    },
}

/// A target that was found.
pub(crate) struct FoundTarget {
    /// What is dialled.
    pub(crate) endpoint: Endpoint,
    /// Target and port for messages: `db.default:5432`.
    pub(crate) shown: String,
    /// What the user should know.
    pub(crate) warning: Option<Report>,
}

impl FoundTarget {
    /// A host whose port is a number.
    pub(crate) fn host(host: &str, port: u16, forward: &Forward) -> Self {
        let shown = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        Self {
            endpoint: Endpoint::Host {
                host: host.to_owned(),
                port,
                takes_turns: false,
            },
            shown: shown + forward.protocol.suffix(),
            warning: None,
        }
    }
}

/// Finds the target of a forward, or says which ones there are instead.
pub(crate) async fn find(access: &Access, forward: &Forward) -> Result<FoundTarget, Failure> {
    match &forward.target {
        ForwardTarget::Host(host) => service::find_host(access, host, forward).await,
        ForwardTarget::Service { name, namespace } => {
            service::find(&in_namespace(access, namespace.as_deref()), name, forward).await
        }
        ForwardTarget::Pods(workload) => find_pods(access, workload, forward).await,
    }
}

/// The same cluster and user in another namespace.
fn in_namespace(access: &Access, namespace: Option<&str>) -> Access {
    let mut access = access.clone();
    if let Some(namespace) = namespace {
        access.namespace = namespace.to_owned();
    }
    access
}

/// Finds the pods of a workload, or one pod.
async fn find_pods(
    access: &Access,
    written: &WorkloadName,
    forward: &Forward,
) -> Result<FoundTarget, Failure> {
    let (access, workload) = with_namespace(access, written).await;
    let needed = [
        Right::new("get", workload.kind.group(), workload.kind.resource(), "").of_object(&workload.name),
        Right::new("list", "", "pods", ""),
        Right::new("watch", "", "pods", ""),
    ];
    let needed: Vec<_> = needed.into_iter().map(|right| vec![right]).collect();
    let (allowed, found) = tokio::join!(
        rights::check(&access, &needed),
        find::find(&access, &workload, "")
    );
    allowed?;
    let found = found?;
    let warning = ports::check(&workload, &found.template.spec, forward)?;
    let filter = match found.pods {
        Some(PodsOf::Selector(selector)) => PodFilter::of_selector(&workload, selector)?,
        Some(PodsOf::Name(name)) => PodFilter::Name(name),
        None => {
            return Err(Failure::lasting(
                format!("{workload} has no pods of its own"),
                "name a workload that has some, or a pod",
            ));
        }
    };
    let shown = match written.name == workload.name {
        true => format!("{workload}:{}", forward.remote),
        false => format!("{workload}.{}:{}", access.namespace, forward.remote),
    };
    Ok(FoundTarget {
        endpoint: Endpoint::Pods {
            pods: Rc::new(PodSet::new(access, filter, workload.to_string())),
            port: forward.remote.clone(),
        },
        shown: shown + forward.protocol.suffix(),
        warning,
    })
}

/// Where the object is: its name may end in the namespace, or have dots of its own, unlike a namespace's.
async fn with_namespace(access: &Access, written: &WorkloadName) -> (Access, WorkloadName) {
    let as_written = || (access.clone(), written.clone());
    let Some((name, namespace)) = written.name.rsplit_once('.') else {
        return as_written();
    };
    let kind: WorkloadKind = written.kind;
    if find::has(access, kind, &written.name).await {
        return as_written();
    }
    let name = name.to_owned();
    (in_namespace(access, Some(namespace)), WorkloadName { kind, name })
}

#[cfg(test)]
mod tests;
