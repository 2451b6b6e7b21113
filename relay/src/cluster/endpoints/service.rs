//! A Service as the target of a forward: its own address is dialled by its name, so that it balances the load as it
//! does for pods.
//!
//! The name alone is enough for that. Where the user may not read Services, the forward goes on without the checks.

use super::pods::{PodFilter, PodSet};
use super::ports::{DEFAULT_PROTOCOL, other_protocol};
use super::{Endpoint, FoundTarget, in_namespace};
use crate::cluster::access::Access;
use crate::cluster::workload::find;
use crate::cluster::workload::near;
use crate::log;
use crate::report::Failure;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kinject_escape::word;
use kinject_protocol::forward::{Forward, RemotePort};
use kinject_protocol::workload::WorkloadKind;
use kube::api::{Api, ListParams};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::timeout;

/// Time limit for one request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How many Services are listed to find near names.
const MAX_LISTED: u32 = 500;

/// The cluster address of a headless Service.
const HEADLESS: &str = "None";

/// What the API says of a Service.
enum Answer {
    Found(Box<Service>),
    Missing,
    /// The user may not know.
    Forbidden(String),
}

/// Finds the Service of a forward.
pub(super) async fn find(access: &Access, name: &str, forward: &Forward) -> Result<FoundTarget, Failure> {
    match get(access, name).await? {
        Answer::Found(service) => of_service(access, name, &service, forward),
        Answer::Missing => Err(missing(access, name).await),
        Answer::Forbidden(why) => unchecked(access, name, &why, forward),
    }
}

/// Finds what a name without a type stands for: a Service of the namespace, `NAME.NAMESPACE`, or any host.
pub(super) async fn find_host(
    access: &Access,
    host: &str,
    forward: &Forward,
) -> Result<FoundTarget, Failure> {
    let labels: Vec<&str> = host.split('.').collect();
    let (name, namespace) = match labels.as_slice() {
        _ if host.parse::<IpAddr>().is_ok() => return other_host(host, forward),
        [name] => (*name, None),
        [name, namespace] | [name, namespace, "svc", ..] => (*name, Some(*namespace)),
        _ => return other_host(host, forward),
    };
    let there = in_namespace(access, namespace);
    match get(&there, name).await? {
        Answer::Found(service) => of_service(&there, name, &service, forward),
        Answer::Missing if namespace.is_none() => Err(missing(&there, name).await),
        Answer::Missing => other_host(host, forward),
        Answer::Forbidden(why) => {
            log::info!("cannot look for service {name}: {why}");
            other_host(host, forward)
        }
    }
}

/// A host of which only name servers know.
fn other_host(host: &str, forward: &Forward) -> Result<FoundTarget, Failure> {
    match &forward.remote {
        RemotePort::Number(number) => Ok(FoundTarget::host(host, *number, forward)),
        RemotePort::Name(name) => Err(Failure::lasting(
            format!("the port {name} of {host} is not known: it is no service that you may read"),
            "write the port's number",
        )),
    }
}

async fn get(access: &Access, name: &str) -> Result<Answer, Failure> {
    let services: Api<Service> = Api::namespaced(access.client.clone(), &access.namespace);
    let what = || format!("look for service {name}");
    let found = timeout(ANSWER_TIMEOUT, services.get(name)).await;
    match found.map_err(|_| access.silence(&format!("for service {name}")))? {
        Ok(service) => Ok(Answer::Found(Box::new(service))),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Answer::Missing),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Answer::Forbidden(status.message.clone())),
        Err(error) => Err(access.failure(&error, &what())),
    }
}

/// The name that the Service has in the cluster's DNS, for a search list that ends in the cluster's domain.
fn dns_name(access: &Access, name: &str) -> String {
    format!("{name}.{}.svc", access.namespace)
}

fn unchecked(access: &Access, name: &str, why: &str, forward: &Forward) -> Result<FoundTarget, Failure> {
    match &forward.remote {
        RemotePort::Number(number) => {
            log::info!("cannot look for service {name}, which is dialled by its name: {why}");
            Ok(by_name(access, name, *number, false, forward))
        }
        RemotePort::Name(_) => Err(Failure::lasting(
            format!(
                "missing rights in namespace {}: get services/{name}",
                access.namespace
            ),
            "write the number of the port, or ask for this right",
        )),
    }
}

fn by_name(access: &Access, name: &str, dialled: u16, takes_turns: bool, forward: &Forward) -> FoundTarget {
    FoundTarget {
        endpoint: Endpoint::Host {
            host: dns_name(access, name),
            port: dialled,
            takes_turns,
        },
        shown: format!(
            "{name}.{}:{dialled}{}",
            access.namespace,
            forward.protocol.suffix()
        ),
        warning: None,
    }
}

fn of_service(
    access: &Access,
    name: &str,
    service: &Service,
    forward: &Forward,
) -> Result<FoundTarget, Failure> {
    let empty = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&empty);
    let is_external = spec.type_.as_deref() == Some("ExternalName");
    if let (true, RemotePort::Number(number)) = (is_external, &forward.remote) {
        // its name leads to a host of which Kubernetes knows no ports
        return Ok(by_name(access, name, *number, false, forward));
    }
    let port = port_of(access, name, spec, forward)?;
    let number = u16::try_from(port.port).map_err(|_| no_port(name, spec, forward))?;
    if is_external || spec.cluster_ip.as_deref() != Some(HEADLESS) {
        return Ok(by_name(access, name, number, false, forward));
    }
    let shown = format!(
        "{name}.{}:{number}{}",
        access.namespace,
        forward.protocol.suffix()
    );
    let endpoint = match (&port.target_port, &spec.selector) {
        (Some(IntOrString::String(named)), Some(selector)) => {
            let selector = LabelSelector {
                match_labels: Some(selector.clone()),
                match_expressions: None,
            };
            let filter = PodFilter::of_selector(&format!("service {name}"), selector)?;
            let pods = PodSet::new(access.clone(), filter, format!("service {name}"));
            Endpoint::Pods {
                pods: Rc::new(pods),
                port: RemotePort::Name(named.clone()),
            }
        }
        (target, _) => {
            let of_pods = match target {
                Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
                _ => None,
            };
            Endpoint::Host {
                host: dns_name(access, name),
                port: of_pods.unwrap_or(number),
                takes_turns: true,
            }
        }
    };
    Ok(FoundTarget {
        endpoint,
        shown,
        warning: None,
    })
}

fn protocol_of(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or(DEFAULT_PROTOCOL)
}

fn is_meant(port: &ServicePort, remote: &RemotePort) -> bool {
    match remote {
        RemotePort::Number(number) => port.port == i32::from(*number),
        RemotePort::Name(name) => port.name.as_deref() == Some(name.as_str()),
    }
}

fn port_of<'a>(
    access: &Access,
    name: &str,
    spec: &'a ServiceSpec,
    forward: &Forward,
) -> Result<&'a ServicePort, Failure> {
    let meant = spec
        .ports
        .iter()
        .flatten()
        .filter(|port| is_meant(port, &forward.remote));
    let meant: Vec<_> = meant.collect();
    let protocol = forward.protocol.in_api();
    if let Some(port) = meant.iter().find(|port| protocol_of(port) == protocol) {
        return Ok(port);
    }
    if let Some(other) = meant.first() {
        return Err(Failure::lasting(
            format!(
                "service {name} in namespace {} has its port {} for {} alone, and not for {protocol}",
                access.namespace,
                forward.remote,
                protocol_of(other)
            ),
            other_protocol(forward.protocol),
        ));
    }
    Err(no_port(name, spec, forward))
}

fn no_port(name: &str, spec: &ServiceSpec, forward: &Forward) -> Failure {
    let ports = spec.ports.iter().flatten().map(|port| {
        let suffix = match protocol_of(port) {
            DEFAULT_PROTOCOL => String::new(),
            other => format!("/{}", other.to_lowercase()),
        };
        match &port.name {
            Some(name) => format!("{}{suffix} ({name})", port.port),
            None => format!("{}{suffix}", port.port),
        }
    });
    let ports: Vec<_> = ports.collect();
    Failure::lasting(
        format!("service {name} has no port {}", forward.remote),
        &match ports.is_empty() {
            true => "it has none: forward to its pods, or to a host".to_owned(),
            false => format!("write one of its ports: {}", ports.join(", ")),
        },
    )
}

/// That a Service is not there, with what is: a workload of that name, or near names.
async fn missing(access: &Access, name: &str) -> Failure {
    let message = format!("there is no service {name} in namespace {}", access.namespace);
    let workloads = WorkloadKind::ALL
        .into_iter()
        .filter(|kind| *kind != WorkloadKind::CronJob);
    let workloads = join_all(workloads.map(async |kind| find::has(access, kind, name).await.then_some(kind)));
    let services: Api<Service> = Api::namespaced(access.client.clone(), &access.namespace);
    let parameters = ListParams::default().limit(MAX_LISTED);
    let listed = timeout(ANSWER_TIMEOUT, services.list_metadata(&parameters));
    let (workloads, listed) = tokio::join!(workloads, listed);
    if let Some(kind) = workloads.into_iter().flatten().next() {
        let kind = kind.singular();
        return Failure::lasting(
            message,
            &format!("there is a {kind} of that name: write {kind}/{}", word(name)),
        );
    }
    let names = match listed {
        Ok(Ok(list)) => list
            .items
            .into_iter()
            .filter_map(|item| item.metadata.name)
            .collect(),
        _ => Vec::new(),
    };
    let nearest = near::nearest(name, names.iter().map(String::as_str));
    let hint = match nearest.is_empty() {
        false => format!("use one of the services there: {}", nearest.join(", ")),
        true => format!(
            "`kubectl -n {} get services` lists those that are there; --namespace names another namespace",
            word(&access.namespace)
        ),
    };
    Failure::lasting(message, &hint)
}
