//! From a Job to its running pod, or to the cluster's own words on why there is none.

use super::access::Access;
use super::answering::awaited;
use super::carried::pod::is_carried;
use super::carried::refusal::or_by_image;
use super::carried::upload::UploadError;
use super::job::{self, AgentJob};
use super::ownership::Claimants;
use super::{addresses, events, pace};
use crate::log;
use crate::report::Failure;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kinject_escape::word;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a pod may be unschedulable before the session gives up: time for a node that is just coming up.
const UNSCHEDULABLE_PATIENCE: Duration = Duration::from_secs(4);

/// How long a pod may take to run when everything is there that it mounts, and nothing else tells what is wrong.
const PATIENCE: Duration = Duration::from_secs(job::START_SECONDS as u64);

/// How long a pod may take to appear after an event has said that it cannot be made. Events can be forged, and the
/// Job's controller tries again after a second: a pod that is there is right, and the event is not.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);

/// A pod whose agent can be connected to.
#[derive(Clone, Debug)]
pub(crate) struct RunningPod {
    /// Its name.
    pub(crate) name: String,
    /// Its UID.
    pub(crate) uid: String,
    /// What its node says of the image that it was made of.
    pub(crate) image_id: String,
    /// The addresses that the cluster gave to it.
    pub(crate) addresses: Vec<IpAddr>,
    /// The latest version in which it is known to have run: what becomes of it comes after that.
    pub(crate) version: Rc<RefCell<String>>,
}

/// Why a Job has no running pod.
#[derive(Clone, Debug)]
pub(crate) enum NotRunning {
    /// The namespace takes pods with limits only.
    WithoutLimits(Failure),
    /// There are other ConfigMaps of the names that a carried agent's should have, or they cannot be shared.
    NameTaken(Failure),
    /// A carried agent's ConfigMap was removed while the agent started.
    MapRemoved(Failure),
    /// The Job of a carried agent ended before it was released.
    HeldTooLong(Failure),
    /// No node, or no image, is for the machines that the agent was built for.
    WrongArchitecture(Failure),
    /// The node cannot get the image in which a carried agent should run.
    NoImage(Failure),
    /// Anything else.
    Failed(Failure),
}

impl From<Failure> for NotRunning {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<UploadError> for NotRunning {
    fn from(why: UploadError) -> Self {
        match why {
            UploadError::NameTaken(failure) => Self::NameTaken(failure),
            UploadError::Removed(failure) => Self::MapRemoved(failure),
            UploadError::HoldExpired(failure) => Self::HeldTooLong(failure),
            UploadError::Failed(failure) => Self::Failed(failure),
        }
    }
}

impl From<NotRunning> for Failure {
    fn from(why: NotRunning) -> Self {
        match why {
            NotRunning::WithoutLimits(failure)
            | NotRunning::NameTaken(failure)
            | NotRunning::MapRemoved(failure)
            | NotRunning::HeldTooLong(failure)
            | NotRunning::WrongArchitecture(failure)
            | NotRunning::NoImage(failure)
            | NotRunning::Failed(failure) => failure,
        }
    }
}

/// What is known of a pod that does not run yet.
#[derive(Default)]
struct Pending {
    /// Whether the pod exists.
    exists: Cell<bool>,
    /// Whether its sandbox and its volumes are there, and its image is what it waits for.
    is_pulling: Cell<bool>,
    /// Since when, and why, no node takes it.
    unschedulable: RefCell<Option<(Instant, NotRunning)>>,
}

/// Waits for the Job's pod to run. `progress` is told what the pod is waiting for, and `is_mountable` is done when
/// everything is there that the pod mounts. Of a carried agent an image that is not for its machines, and a cluster
/// without such machines, are failures of their own.
pub(crate) async fn running_pod(
    access: &Access,
    job: &AgentJob,
    is_carried: bool,
    is_mountable: impl Future<Output = ()>,
    mut progress: impl FnMut(&str),
) -> Result<RunningPod, NotRunning> {
    let pending = Pending::default();
    let refused = refusal_of_controller(access, job, is_carried, &pending.exists);
    let pod = follow_pod(access, job, &pending, &mut progress);
    let late = async {
        is_mountable.await;
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        // a pod that runs when the time is up is taken
        biased;
        pod = pod => pod,
        refusal = refused => Err(refusal),
        () = late => Err(is_late(access, job, is_carried, pending.is_pulling.get()).into()),
    }
}

fn is_late(access: &Access, job: &AgentJob, is_carried: bool, is_pulling: bool) -> Failure {
    let message = format!("the agent's pod does not run after {} s", PATIENCE.as_secs());
    let mut hint = format!(
        "`kubectl -n {} describe job {}` tells more",
        word(&access.namespace),
        word(&job.name)
    );
    if !is_carried {
        return Failure::lasting(message, &hint);
    }
    if is_pulling {
        hint.push_str("; its image is pulled: --host-image names another that the nodes have");
    }
    or_by_image(Failure::lasting(message, &hint))
}

/// The Job controller's failure to make a pod (quota, admission) shows only in an event. It counts for nothing once the
/// pod exists.
async fn refusal_of_controller(
    access: &Access,
    job: &AgentJob,
    is_carried: bool,
    exists: &Cell<bool>,
) -> NotRunning {
    let refusal = events::refusal(access, &job.uid).await;
    let without_limits = refusal
        .as_ref()
        .is_ok_and(|message| events::demands_limits(message));
    // whoever forges a demand for limits gets an agent with limits, which is not worth the wait
    if refusal.is_ok() && (exists.get() || !without_limits) {
        tokio::time::sleep(REFUSAL_PATIENCE).await;
        if exists.get() {
            log::info!("an event says that the agent's pod cannot be made, but it exists");
            std::future::pending::<()>().await;
        }
    }
    match refusal {
        Ok(message) => {
            let failure = Failure::lasting(
                format!("pod creation denied: {message}"),
                "these are the cluster's own words; --namespace chooses another namespace",
            );
            match without_limits {
                true => NotRunning::WithoutLimits(failure),
                false if is_carried => NotRunning::Failed(or_by_image(failure)),
                false => NotRunning::Failed(failure),
            }
        }
        Err(error) => {
            // events are a courtesy: without the right to read them the pod itself has to tell
            log::info!(
                "cannot read the events of {}: {}",
                job.name,
                super::access::innermost(&error)
            );
            std::future::pending().await
        }
    }
}

/// Follows the pod that is the Job's own, whatever other pods look like it. `pending` is told what is known of it.
async fn follow_pod(
    access: &Access,
    job: &AgentJob,
    pending: &Pending,
    progress: &mut impl FnMut(&str),
) -> Result<RunningPod, NotRunning> {
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), &access.namespace);
    let selector = format!("batch.kubernetes.io/job-name={}", job.name);
    let mut claimants = Claimants::new(job, &access.namespace);
    let mut is_ours = |pod: &Pod| -> Result<bool, Failure> {
        let is_ours = claimants.is_only_one(pod)?;
        if is_ours {
            pending.exists.set(true);
        } else {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            log::info!("pod {name} has the label of the agent's Job and is not its pod: left alone");
        }
        Ok(is_ours)
    };
    let mut pace = pace::of_watches();
    loop {
        pace.tick().await;
        let parameters = ListParams::default().labels(&selector);
        let listed = awaited(&access.server, &mut *progress, pods.list(&parameters));
        let list = listed
            .await
            .map_err(|error| access.failure(&error, "look for the agent's pod"))?;
        let mut ours = None;
        for pod in &list.items {
            if is_ours(pod)? {
                ours = Some(pod);
            }
        }
        if let Some(pod) = ours
            && let Some(done) = evaluate(access, pod, pending, progress)
        {
            return done;
        }
        // each watch may end before that, and so be no one to wait with
        let given_up = pending
            .unschedulable
            .borrow_mut()
            .take_if(|(since, _)| since.elapsed() >= UNSCHEDULABLE_PATIENCE);
        if let Some((_, why)) = given_up {
            return Err(why);
        }
        let version = list.metadata.resource_version.unwrap_or_default();
        let stream = pods
            .watch(&WatchParams::default().labels(&selector), &version)
            .await
            .map_err(|error| access.failure(&error, "watch the agent's pod"))?;
        futures::pin_mut!(stream);
        loop {
            let deadline = pending
                .unschedulable
                .borrow()
                .as_ref()
                .map(|(since, _)| *since + UNSCHEDULABLE_PATIENCE);
            let next = async {
                match deadline {
                    Some(deadline) => tokio::time::timeout_at(deadline, stream.try_next()).await.ok(),
                    None => Some(stream.try_next().await),
                }
            };
            match next.await {
                None => {
                    if let Some((_, why)) = pending.unschedulable.take() {
                        return Err(why);
                    }
                }
                Some(Ok(Some(WatchEvent::Added(pod) | WatchEvent::Modified(pod)))) => {
                    if is_ours(&pod)?
                        && let Some(done) = evaluate(access, &pod, pending, progress)
                    {
                        return done;
                    }
                }
                Some(Ok(Some(WatchEvent::Deleted(pod)))) => {
                    if is_ours(&pod)? {
                        let failure = Failure::passing(
                            "the agent's pod was deleted",
                            "look for what deletes pods: run `kubectl get events`",
                        );
                        return Err(failure.into());
                    }
                }
                Some(Ok(Some(WatchEvent::Bookmark(_)))) => {}
                // the watch has ended, as watches do: list and watch again
                Some(Ok(Some(WatchEvent::Error(_)) | None) | Err(_)) => break,
            }
        }
    }
}

/// What a pod's status means: running, unstartable, or (`None`) not decided yet.
fn evaluate(
    access: &Access,
    pod: &Pod,
    pending: &Pending,
    progress: &mut impl FnMut(&str),
) -> Option<Result<RunningPod, NotRunning>> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let container = status
        .container_statuses
        .as_ref()
        .and_then(|statuses| statuses.first());
    if let Some(why) = not_to_run(access, pod) {
        return Some(Err(why));
    }
    let running = container
        .and_then(|container| container.state.as_ref())
        .is_some_and(|state| state.running.is_some());
    if running && status.pod_ip.is_some() {
        let version = pod.metadata.resource_version.clone().unwrap_or_default();
        return Some(Ok(RunningPod {
            name,
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            image_id: container
                .map(|container| container.image_id.clone())
                .unwrap_or_default(),
            addresses: addresses::of_pod(status),
            version: Rc::new(RefCell::new(version)),
        }));
    }
    let condition = |type_: &str| {
        let mut conditions = status.conditions.iter().flatten();
        conditions.find(|condition| condition.type_ == type_)
    };
    let has_sandbox =
        condition("PodReadyToStartContainers").is_some_and(|condition| condition.status == "True");
    pending.is_pulling.set(has_sandbox);
    match condition("PodScheduled") {
        Some(condition) if condition.reason.as_deref() == Some("Unschedulable") => {
            let message = condition.message.clone().unwrap_or_default();
            progress("waiting for a node that takes the agent");
            let failure = Failure::lasting(
                format!("no node takes the agent's pod: {message}"),
                "these are the scheduler's own words; `kubectl get nodes` shows the nodes",
            );
            let why = match is_carried(pod) && fits_no_architecture(&message) {
                true => NotRunning::WrongArchitecture(or_by_image(failure)),
                false => NotRunning::Failed(failure),
            };
            let mut unschedulable = pending.unschedulable.borrow_mut();
            let since = unschedulable.take().map_or_else(Instant::now, |(since, _)| since);
            *unschedulable = Some((since, why));
        }
        _ => {
            pending.unschedulable.take();
            progress("starting the agent");
        }
    }
    None
}

/// How a pod has ended, or why its container will not run without somebody's help.
pub(super) fn ended(access: &Access, pod: &Pod) -> Option<Failure> {
    not_to_run(access, pod).map(Failure::from)
}

fn not_to_run(access: &Access, pod: &Pod) -> Option<NotRunning> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let container = status
        .container_statuses
        .as_ref()
        .and_then(|statuses| statuses.first());
    let is_carried = is_carried(pod);
    let unstartable = container.and_then(|container| unstartable(access, name, container, is_carried));
    if unstartable.is_some() || status.phase.as_deref() != Some("Failed") {
        return unstartable;
    }
    let why = status.message.clone().or_else(|| status.reason.clone());
    let failure = Failure::lasting(
        format!("the agent's pod failed: {}", why.unwrap_or_default()),
        &describe(access, name),
    );
    Some(failure.into())
}

/// The command that tells more of a pod, whose name is the cluster's word.
fn describe(access: &Access, pod: &str) -> String {
    format!(
        "`kubectl -n {} describe pod {}` tells more",
        word(&access.namespace),
        word(pod)
    )
}

/// Whether the scheduler says that of each node it is the labels that do not fit, which are the agent's architecture:
/// "0/3 nodes are available: 2 node(s) didn't match Pod's node affinity/selector, 1 Insufficient cpu. preemption: ..."
/// says that some node is of it.
fn fits_no_architecture(message: &str) -> bool {
    let Some((_, reasons)) = message.split_once("nodes are available: ") else {
        return false;
    };
    let reasons = reasons.split(". ").next().unwrap_or_default();
    reasons
        .split(", ")
        .all(|reason| reason.contains("node affinity/selector"))
}

/// Whether a container runtime says that an image is not for the node's machine: containerd, CRI-O, and Docker by
/// cri-dockerd.
fn lacks_platform(message: &str) -> bool {
    [
        "no match for platform",
        "no image found in manifest list for architecture",
        "no image found in image index for architecture",
        "no matching manifest for",
        "does not provide the specified platform",
        "does not match the specified platform",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// A container that will not run without somebody's help.
fn unstartable(
    access: &Access,
    pod: &str,
    container: &ContainerStatus,
    is_carried: bool,
) -> Option<NotRunning> {
    let state = container.state.as_ref()?;
    let describe = describe(access, pod);
    if let Some(ended) = &state.terminated {
        let words = ended
            .message
            .clone()
            .or_else(|| ended.reason.clone())
            .unwrap_or_default();
        let code = ended.exit_code;
        let hint = match is_carried {
            true => format!("{describe}; --agent-image names an image that holds the agent instead"),
            false => format!(
                "check that {} is an image of kinject-agent {}: {describe}",
                word(&container.image),
                env!("CARGO_PKG_VERSION")
            ),
        };
        let failure = Failure::lasting(
            format!("the agent ended with status {code}: {}", words.trim_end()),
            &hint,
        );
        return Some(failure.into());
    }
    let waiting = state.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    let words = waiting.message.clone().unwrap_or_default();
    let image = &container.image;
    match reason {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ErrImageNeverPull"
        | "InvalidImageName"
        | "ImageInspectError"
        | "RegistryUnavailable"
            if is_carried =>
        {
            let failure = Failure::lasting(
                format!("the node cannot get the image {image}, in which the agent runs ({reason}): {words}"),
                "name an image that the nodes have with --host-image, or one that holds the agent with --agent-image",
            );
            Some(match lacks_platform(&words) {
                true => NotRunning::WrongArchitecture(failure),
                false => NotRunning::NoImage(failure),
            })
        }
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ErrImageNeverPull"
        | "InvalidImageName"
        | "ImageInspectError"
        | "RegistryUnavailable" => {
            let failure = Failure::lasting(
                format!("the node cannot get the agent's image {image} ({reason}): {words}"),
                "push it to a registry that the nodes reach and name it with --agent-image, or load it on the nodes \
                 (`kind load docker-image IMAGE`, `minikube image load IMAGE`)",
            );
            Some(failure.into())
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" | "CrashLoopBackOff" => {
            let hint = match is_carried {
                true => format!("{describe}; --host-image names another image"),
                false => describe,
            };
            let failure = Failure::lasting(format!("the agent cannot start ({reason}): {words}"), &hint);
            Some(failure.into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
