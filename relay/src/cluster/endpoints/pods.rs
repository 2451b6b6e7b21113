//! The pods behind a forward, followed by a watch: each new connection goes to one that is ready.
//!
//! Connections stay with one pod for as long as it is ready, as those of `kubectl port-forward` do: what a browser
//! opens beside another connection reaches the same pod.

use super::ports;
use crate::cluster::access::{Access, innermost};
use crate::cluster::pace;
use crate::log;
use crate::report::Failure;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kinject_protocol::forward::{PortProtocol, RemotePort};
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::core::Selector;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use tokio::sync::Notify;

/// Which pods.
pub(crate) enum PodFilter {
    /// Those with these labels.
    Labels(Selector),
    /// The one of this name, also when it is made again.
    Name(String),
}

impl PodFilter {
    /// The pods of a selector; `whose` is for messages.
    pub(super) fn of_selector(whose: &impl Display, selector: LabelSelector) -> Result<Self, Failure> {
        match Selector::try_from(selector) {
            Ok(selector) => Ok(Self::Labels(selector)),
            Err(error) => Err(Failure::lasting(
                format!("the selector of {whose} cannot be read: {error}"),
                "look at it with `kubectl get -o yaml`, and report this",
            )),
        }
    }

    fn listed(&self) -> ListParams {
        match self {
            Self::Labels(selector) => ListParams::default().labels_from(selector),
            Self::Name(name) => ListParams::default().fields(&format!("metadata.name={name}")),
        }
    }

    fn watched(&self) -> WatchParams {
        match self {
            Self::Labels(selector) => WatchParams::default().labels_from(selector),
            Self::Name(name) => WatchParams::default().fields(&format!("metadata.name={name}")),
        }
    }
}

/// The pods behind a forward, as the API last said.
pub(crate) struct PodSet {
    access: Access,
    filter: PodFilter,
    /// Whose pods they are, for messages.
    whose: String,
    state: RefCell<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// By their UIDs.
    pods: BTreeMap<String, KnownPod>,
    /// The one that has the connections.
    chosen: Option<String>,
    /// Whether pods that run and are not ready are dialled, too.
    takes_unready: bool,
}

/// A pod that can be dialled.
struct KnownPod {
    name: String,
    address: IpAddr,
    is_ready: bool,
    spec: PodSpec,
}

/// A pod that a connection goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChosenPod {
    uid: String,
    /// The address and port to dial.
    pub(crate) target: SocketAddr,
}

/// The chosen pod has no port of that name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoSuchPort;

impl PodSet {
    /// Knows no pods until it is followed.
    pub(super) fn new(access: Access, filter: PodFilter, whose: String) -> Self {
        let state = State {
            // there is no other to wait for
            takes_unready: matches!(filter, PodFilter::Name(_)),
            ..State::default()
        };
        Self {
            access,
            filter,
            whose,
            state: RefCell::new(state),
            changed: Notify::new(),
        }
    }

    /// Whose pods they are.
    pub(crate) fn whose(&self) -> &str {
        &self.whose
    }

    /// Lists the pods once; returns whether one of them can be dialled.
    pub(crate) async fn look(&self) -> Result<bool, Failure> {
        let what = format!("list the pods of {}", self.whose);
        let listed = self.list().await;
        listed.map_err(|error| self.access.failure(&error, &what))?;
        Ok(!self.state.borrow().usable().is_empty())
    }

    /// Follows the pods for as long as the session lives. While the API server does not answer, the pods stay what they
    /// were.
    pub(crate) async fn follow(&self) -> Infallible {
        let mut pace = pace::of_watches();
        loop {
            pace.tick().await;
            if let Err(error) = self.follow_once().await {
                log::info!(
                    "the pods of {} are not followed: {}",
                    self.whose,
                    innermost(&error)
                );
            }
        }
    }

    async fn list(&self) -> Result<String, kube::Error> {
        let pods: Api<Pod> = Api::namespaced(self.access.client.clone(), &self.access.namespace);
        let list = pods.list(&self.filter.listed()).await?;
        let known = list.items.into_iter().filter_map(known_pod).collect();
        self.state.borrow_mut().pods = known;
        self.changed.notify_waiters();
        Ok(list.metadata.resource_version.unwrap_or_default())
    }

    /// Lists the pods and watches them until the API server ends the watch.
    async fn follow_once(&self) -> Result<(), kube::Error> {
        let version = self.list().await?;
        let pods: Api<Pod> = Api::namespaced(self.access.client.clone(), &self.access.namespace);
        let mut stream = pin!(pods.watch(&self.filter.watched(), &version).await?);
        while let Some(event) = stream.try_next().await? {
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => self.update(pod),
                WatchEvent::Deleted(pod) => self.remove(pod.metadata.uid.as_deref().unwrap_or_default()),
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            }
        }
        Ok(())
    }

    fn update(&self, pod: Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        match known_pod(pod) {
            Some((uid, pod)) => {
                self.state.borrow_mut().pods.insert(uid, pod);
                self.changed.notify_waiters();
            }
            None => self.remove(&uid),
        }
    }

    fn remove(&self, uid: &str) {
        self.state.borrow_mut().pods.remove(uid);
        self.changed.notify_waiters();
    }

    /// The pod for the next connection, as soon as there is one. Cancel-safe.
    pub(crate) async fn choose(
        &self,
        port: &RemotePort,
        protocol: PortProtocol,
    ) -> Result<ChosenPod, NoSuchPort> {
        loop {
            let changed = self.changed.notified();
            if let Some(chosen) = self.state.borrow_mut().choose(port, protocol) {
                return chosen;
            }
            changed.await;
        }
    }

    /// Has the next connection go to another pod, if there is one, since this one did not take the last.
    pub(crate) fn avoid(&self, failed: &ChosenPod) {
        let mut state = self.state.borrow_mut();
        if state.chosen.as_ref() == Some(&failed.uid) {
            let usable = state.usable();
            let position = usable
                .iter()
                .position(|uid| *uid == failed.uid)
                .unwrap_or_default();
            state.chosen = usable.get((position + 1) % usable.len().max(1)).cloned();
        }
    }
}

impl State {
    /// The UIDs of the pods that can be dialled.
    fn usable(&self) -> Vec<String> {
        let usable = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.is_ready || self.takes_unready);
        usable.map(|(uid, _)| uid.clone()).collect()
    }

    fn choose(&mut self, port: &RemotePort, protocol: PortProtocol) -> Option<Result<ChosenPod, NoSuchPort>> {
        let usable = self.usable();
        let kept = self.chosen.take().filter(|chosen| usable.contains(chosen));
        let uid = kept.or_else(|| usable.first().cloned())?;
        self.chosen = Some(uid.clone());
        let pod = self.pods.get(&uid)?;
        let number = match port {
            RemotePort::Number(number) => Some(*number),
            RemotePort::Name(name) => ports::number(&pod.spec, name, protocol),
        };
        log::debug!("the next connection goes to pod {}", pod.name);
        Some(number.ok_or(NoSuchPort).map(|number| ChosenPod {
            uid,
            target: SocketAddr::new(pod.address, number),
        }))
    }
}

/// A pod that runs and has an address, by its UID.
fn known_pod(pod: Pod) -> Option<(String, KnownPod)> {
    let status = pod.status?;
    let is_running = status.phase.as_deref() == Some("Running") && pod.metadata.deletion_timestamp.is_none();
    if !is_running {
        return None;
    }
    let address = status.pod_ip.as_deref()?.parse().ok()?;
    let mut conditions = status.conditions.iter().flatten();
    let is_ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let known = KnownPod {
        name: pod.metadata.name.unwrap_or_default(),
        address,
        is_ready,
        spec: pod.spec.unwrap_or_default(),
    };
    Some((pod.metadata.uid?, known))
}
