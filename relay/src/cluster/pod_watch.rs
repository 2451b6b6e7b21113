//! From a Job to its running pod, or to the cluster's own words on why there is none.

use super::access::Access;
use super::answering::awaited;
use super::carried::pod::is_carried;
use super::carried::store::{self, NotPlaced};
use super::job::AgentJob;
use super::ownership::Claimants;
use super::{addresses, events, pace};
use crate::log;
use crate::report::Failure;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kinject_escape::word;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a pod may be unschedulable before the session gives up: time for a node that is just coming up.
const UNSCHEDULABLE_PATIENCE: Duration = Duration::from_secs(4);

/// How long everything may take when nothing else tells what is wrong; pulling the image is the longest part.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a pod may take to appear after an event has said that it cannot be made. Events can be forged, and the Job's
/// controller tries again after a second: a pod that is there is right, and the event is not.
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
    /// Somebody else has ConfigMaps of the names that a carried agent's should have.
    NameTaken(Failure),
    /// No node, or no image, is for the machines that the agent was built for.
    WrongArchitecture(Failure),
    /// Anything else.
    Failed(Failure),
}

impl From<Failure> for NotRunning {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<NotPlaced> for NotRunning {
    fn from(why: NotPlaced) -> Self {
        match why {
            NotPlaced::NameTaken(failure) => Self::NameTaken(failure),
            NotPlaced::Failed(failure) => Self::Failed(failure),
        }
    }
}

impl From<NotRunning> for Failure {
    fn from(why: NotRunning) -> Self {
        match why {
            NotRunning::WithoutLimits(failure)
            | NotRunning::NameTaken(failure)
            | NotRunning::WrongArchitecture(failure)
            | NotRunning::Failed(failure) => failure,
        }
    }
}

/// Waits for the Job's pod to run. `progress` is told what the pod is waiting for. Of a carried agent an image that is not
/// for its machines, and a cluster without such machines, are failures of their own.
pub(crate) async fn running_pod(
    access: &Access,
    job: &AgentJob,
    is_carried: bool,
    mut progress: impl FnMut(&str),
) -> Result<RunningPod, NotRunning> {
    let exists = Cell::new(false);
    let refused = refusal_of_controller(access, job, is_carried, &exists);
    let pod = follow_pod(access, job, &exists, &mut progress);
    tokio::select! {
        pod = tokio::time::timeout(PATIENCE, pod) => pod.unwrap_or_else(|_| {
            Err(Failure::lasting(
                format!("the agent's pod does not run after {} s", PATIENCE.as_secs()),
                &format!(
                    "`kubectl -n {} describe job {}` tells more",
                    word(&access.namespace),
                    word(&job.name)
                ),
            ))
        }).map_err(|failure| match is_carried && names_architecture(&failure.message) {
            true => NotRunning::WrongArchitecture(failure),
            false => NotRunning::Failed(failure),
        }),
        refusal = refused => Err(refusal),
    }
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
                false if is_carried => NotRunning::Failed(store::or_by_image(failure)),
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

/// Follows the pod that is the Job's own, whatever other pods look like it. `exists` is set when there is one.
async fn follow_pod(
    access: &Access,
    job: &AgentJob,
    exists: &Cell<bool>,
    progress: &mut impl FnMut(&str),
) -> Result<RunningPod, Failure> {
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), &access.namespace);
    let selector = format!("batch.kubernetes.io/job-name={}", job.name);
    let mut claimants = Claimants::new(job, &access.namespace);
    let mut is_ours = |pod: &Pod| -> Result<bool, Failure> {
        let is_ours = claimants.is_only_one(pod)?;
        if is_ours {
            exists.set(true);
        } else {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            log::info!("pod {name} has the label of the agent's Job and is not its pod: left alone");
        }
        Ok(is_ours)
    };
    let mut unschedulable_since: Option<(Instant, Failure)> = None;
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
            && let Some(done) = evaluate(access, pod, &mut unschedulable_since, progress)
        {
            return done;
        }
        let version = list.metadata.resource_version.unwrap_or_default();
        let stream = pods
            .watch(&WatchParams::default().labels(&selector), &version)
            .await
            .map_err(|error| access.failure(&error, "watch the agent's pod"))?;
        futures::pin_mut!(stream);
        loop {
            let deadline = unschedulable_since
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
                    if let Some((_, failure)) = unschedulable_since {
                        return Err(failure);
                    }
                }
                Some(Ok(Some(WatchEvent::Added(pod) | WatchEvent::Modified(pod)))) => {
                    if is_ours(&pod)?
                        && let Some(done) = evaluate(access, &pod, &mut unschedulable_since, progress)
                    {
                        return done;
                    }
                }
                Some(Ok(Some(WatchEvent::Deleted(pod)))) => {
                    if is_ours(&pod)? {
                        return Err(Failure::passing(
                            "the agent's pod was deleted",
                            "look for what deletes pods: run `kubectl get events`",
                        ));
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
    unschedulable_since: &mut Option<(Instant, Failure)>,
    progress: &mut impl FnMut(&str),
) -> Option<Result<RunningPod, Failure>> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let container = status
        .container_statuses
        .as_ref()
        .and_then(|statuses| statuses.first());
    if let Some(failure) = ended(access, pod) {
        return Some(Err(failure));
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
    let scheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled");
    match scheduled {
        Some(condition) if condition.reason.as_deref() == Some("Unschedulable") => {
            let message = condition.message.clone().unwrap_or_default();
            progress("waiting for a node that takes the agent");
            let failure = Failure::lasting(
                format!("no node takes the agent's pod: {message}"),
                "these are the scheduler's own words; `kubectl get nodes` shows the nodes",
            );
            unschedulable_since.get_or_insert_with(|| (Instant::now(), failure));
        }
        _ => {
            *unschedulable_since = None;
            progress("starting the agent");
        }
    }
    None
}

/// How a pod has ended, or why its container will not run without somebody's help.
pub(super) fn ended(access: &Access, pod: &Pod) -> Option<Failure> {
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
    Some(Failure::lasting(
        format!("the agent's pod failed: {}", why.unwrap_or_default()),
        &describe(access, name),
    ))
}

/// The command that tells more of a pod, whose name is the cluster's word.
fn describe(access: &Access, pod: &str) -> String {
    format!(
        "`kubectl -n {} describe pod {}` tells more",
        word(&access.namespace),
        word(pod)
    )
}

/// Whether a scheduler or a container runtime says that there is nothing for the agent's kind of machine.
fn names_architecture(message: &str) -> bool {
    message.contains("node affinity/selector") || message.contains("no match for platform")
}

/// A container that will not run without somebody's help.
fn unstartable(access: &Access, pod: &str, container: &ContainerStatus, is_carried: bool) -> Option<Failure> {
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
        return Some(Failure::lasting(
            format!("the agent ended with status {code}: {}", words.trim_end()),
            &hint,
        ));
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
            Some(Failure::lasting(
                format!("the node cannot get the image {image}, in which the agent runs ({reason}): {words}"),
                "name an image that the nodes have with --host-image, or one that holds the agent with --agent-image",
            ))
        }
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ErrImageNeverPull"
        | "InvalidImageName"
        | "ImageInspectError"
        | "RegistryUnavailable" => Some(Failure::lasting(
            format!("the node cannot get the agent's image {image} ({reason}): {words}"),
            "push it to a registry that the nodes reach and name it with --agent-image, or load it on the nodes (`kind load docker-image \
             IMAGE`, `minikube image load IMAGE`)",
        )),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" | "CrashLoopBackOff" => {
            let hint = match is_carried {
                true => format!("{describe}; --host-image names another image"),
                false => describe,
            };
            Some(Failure::lasting(
                format!("the agent cannot start ({reason}): {words}"),
                &hint,
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake_api::{Answer, FakeApi};
    use super::*;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn job_pod_watches_that_end_at_once_are_reopened_at_most_five_times_a_second() {
        let job = AgentJob {
            name: "kinject-agent-0".to_owned(),
            uid: "b9a6".to_owned(),
        };
        let list = json!({
            "apiVersion": "v1", "kind": "PodList", "metadata": { "resourceVersion": "5" }, "items": [],
        });
        let api = FakeApi::new(move |path| match path.contains("watch=true") {
            true => Answer::events([]),
            false => Answer::object(list.clone()),
        });
        let (access, exists) = (api.access(), Cell::new(false));
        let mut progress = |_: &str| {};
        let following = follow_pod(&access, &job, &exists, &mut progress);
        let asked = api.asked_within(Duration::from_secs(10), following).await;
        // a list and a watch each time
        assert!((80..=102).contains(&asked), "{asked}");
    }
}
