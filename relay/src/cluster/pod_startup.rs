//! What the status of the agent's pod means while it starts: the agent runs, the pod waits, or it cannot start.

use super::access::Access;
use super::addresses;
use super::carried::pod::is_carried;
use super::carried::refusal::or_by_image;
use super::manifest::AGENT_CONTAINER;
use super::start_failure::StartFailure;
use super::workload::pod::{WITHOUT_FILES, is_of_workload};
use crate::report::Failure;
use k8s_openapi::api::core::v1::{
    ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod, PodSpec, PodStatus,
};
use kinject_escape::word;
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

/// A pod whose agent can be connected to.
#[derive(Clone, Debug)]
pub(crate) struct RunningPod {
    /// Its name.
    pub(crate) name: String,
    /// Its UID.
    pub(crate) uid: String,
    /// The ID of its image, as its node reports it.
    pub(crate) image_id: String,
    /// The addresses that the cluster gave to it.
    pub(crate) addresses: Vec<IpAddr>,
    /// Its spec, with what admission has put into it.
    pub(crate) spec: Rc<PodSpec>,
    /// The latest version of the pod in which it is known to have run: a watch from there reports how it ends.
    pub(crate) version: Rc<RefCell<String>>,
}

/// How far a pod has started.
#[derive(Debug)]
pub(super) enum Startup {
    /// The agent runs, and the pod has an address.
    Running(RunningPod),
    /// The scheduler has found no node for it, for this reason. A node may still become ready.
    Unschedulable(StartFailure),
    /// It waits for its node.
    Starting {
        /// Whether its sandbox and its volumes are ready, so that only its image is missing.
        is_pulling: bool,
    },
    /// It has ended, or its container cannot start unless the user changes something.
    Failed(StartFailure),
}

/// How far a pod has started; none if it has no status.
pub(super) fn startup(access: &Access, pod: &Pod) -> Option<Startup> {
    let status = pod.status.as_ref()?;
    if let Some(failure) = failure(access, pod) {
        return Some(Startup::Failed(failure));
    }
    if let Some(running) = running(pod, status) {
        return Some(Startup::Running(running));
    }
    let condition = |type_: &str| {
        let mut conditions = status.conditions.iter().flatten();
        conditions.find(|condition| condition.type_ == type_)
    };
    if let Some(scheduled) = condition("PodScheduled")
        && scheduled.reason.as_deref() == Some("Unschedulable")
    {
        let message = scheduled.message.as_deref().unwrap_or_default();
        return Some(Startup::Unschedulable(unschedulable(message, pod)));
    }
    let has_sandbox = condition("PodReadyToStartContainers");
    Some(Startup::Starting {
        is_pulling: has_sandbox.is_some_and(|condition| condition.status == "True"),
    })
}

fn running(pod: &Pod, status: &PodStatus) -> Option<RunningPod> {
    let container = agent_container(status)?;
    let is_running = container.state.as_ref()?.running.is_some();
    (is_running && status.pod_ip.is_some()).then(|| RunningPod {
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        image_id: container.image_id.clone(),
        addresses: addresses::of_pod(status),
        spec: Rc::new(pod.spec.clone().unwrap_or_default()),
        version: Rc::new(RefCell::new(
            pod.metadata.resource_version.clone().unwrap_or_default(),
        )),
    })
}

/// The status of the agent's container. Admission may have put others beside it.
fn agent_container(status: &PodStatus) -> Option<&ContainerStatus> {
    let statuses = status.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == AGENT_CONTAINER)
}

fn unschedulable(message: &str, pod: &Pod) -> StartFailure {
    let mut hint = "these are the scheduler's own words; `kubectl get nodes` shows the nodes".to_owned();
    if is_of_workload(pod) && message.to_ascii_lowercase().contains("volume") {
        hint = format!("{hint}; {WITHOUT_FILES}");
    }
    let failure = Failure::lasting(format!("no node takes the agent's pod: {message}"), &hint);
    match is_carried(pod) && fits_no_architecture(message) {
        true => StartFailure::WrongArchitecture(or_by_image(failure)),
        false => StartFailure::Failed(failure),
    }
}

/// Whether the scheduler rejected every node because of its labels, of which the pod selects the architecture. "0/3
/// nodes are available: 2 node(s) didn't match Pod's node affinity/selector, 1 Insufficient cpu. preemption: ..." means
/// that one node has the architecture.
fn fits_no_architecture(message: &str) -> bool {
    let Some((_, reasons)) = message.split_once("nodes are available: ") else {
        return false;
    };
    let reasons = reasons.split(". ").next().unwrap_or_default();
    reasons
        .split(", ")
        .all(|reason| reason.contains("node affinity/selector"))
}

/// Why a pod has ended, or why its container cannot start unless the user changes something.
pub(super) fn failure(access: &Access, pod: &Pod) -> Option<StartFailure> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let hint = describe_hint(access, name);
    let of_container = agent_container(status).and_then(|container| container_failure(container, pod, &hint));
    if of_container.is_some() || status.phase.as_deref() != Some("Failed") {
        return of_container;
    }
    let why = status.message.clone().or_else(|| status.reason.clone());
    let failure = Failure::lasting(
        format!("the agent's pod failed: {}", why.unwrap_or_default()),
        &hint,
    );
    Some(failure.into())
}

/// The command that shows the details of a pod. A user of the cluster may have chosen the pod's name.
fn describe_hint(access: &Access, pod: &str) -> String {
    format!(
        "`kubectl -n {} describe pod {}` tells more",
        word(&access.namespace),
        word(pod)
    )
}

fn container_failure(container: &ContainerStatus, pod: &Pod, describe_hint: &str) -> Option<StartFailure> {
    let is_carried = is_carried(pod);
    let state = container.state.as_ref()?;
    if let Some(terminated) = &state.terminated {
        return Some(agent_ended(container, terminated, is_carried, describe_hint).into());
    }
    let waiting = state.waiting.as_ref()?;
    match waiting.reason.as_deref()? {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ErrImageNeverPull"
        | "InvalidImageName"
        | "ImageInspectError"
        | "RegistryUnavailable" => Some(image_failure(container, waiting, is_carried)),
        reason @ ("CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "CrashLoopBackOff") => {
            let message = waiting.message.as_deref().unwrap_or_default();
            let hint = match (is_of_workload(pod), is_carried) {
                (true, _) => format!("{describe_hint}; the workload's own pods would not start either"),
                (false, true) => format!("{describe_hint}; --host-image names another image"),
                (false, false) => describe_hint.to_owned(),
            };
            let failure = Failure::lasting(format!("the agent cannot start ({reason}): {message}"), &hint);
            Some(failure.into())
        }
        _ => None,
    }
}

fn agent_ended(
    container: &ContainerStatus,
    terminated: &ContainerStateTerminated,
    is_carried: bool,
    describe_hint: &str,
) -> Failure {
    let message = terminated.message.as_ref().or(terminated.reason.as_ref());
    let message = message.map(|message| message.trim_end()).unwrap_or_default();
    let hint = match is_carried {
        true => format!("{describe_hint}; --agent-image names an image that holds the agent instead"),
        false => format!(
            "check that {} is an image of kinject-agent {}: {describe_hint}",
            word(&container.image),
            env!("CARGO_PKG_VERSION")
        ),
    };
    Failure::lasting(
        format!("the agent ended with status {}: {message}", terminated.exit_code),
        &hint,
    )
}

fn image_failure(
    container: &ContainerStatus,
    waiting: &ContainerStateWaiting,
    is_carried: bool,
) -> StartFailure {
    let image = &container.image;
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let message = waiting.message.as_deref().unwrap_or_default();
    if !is_carried {
        let failure = Failure::lasting(
            format!("the node cannot get the agent's image {image} ({reason}): {message}"),
            "push it to a registry that the nodes reach and name it with --agent-image, or load it on the nodes \
             (`kind load docker-image IMAGE`, `minikube image load IMAGE`)",
        );
        return failure.into();
    }
    let failure = Failure::lasting(
        format!("the node cannot get the image {image}, in which the agent runs ({reason}): {message}"),
        "name an image that the nodes have with --host-image, or one that holds the agent with --agent-image",
    );
    match lacks_platform(message) {
        true => StartFailure::WrongArchitecture(failure),
        false => StartFailure::ImageUnavailable(failure),
    }
}

/// Whether a container runtime (containerd, CRI-O, or Docker through cri-dockerd) reports that an image has no variant
/// for the node's architecture.
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

#[cfg(test)]
mod tests {
    use super::super::fake_api::FakeApi;
    use super::*;
    use serde_json::{Value, json};

    /// The failure of a carried agent's pod that has this status.
    fn failure_of(status: &Value) -> StartFailure {
        let pod = json!({
            "metadata": { "name": "kinject-agent-0-x", "annotations": { "kinject/agent": "one" } },
            "status": status,
        });
        let pod = serde_json::from_value(pod).unwrap();
        match startup(&FakeApi::silent().access(), &pod) {
            Some(Startup::Failed(failure) | Startup::Unschedulable(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }

    fn waiting(reason: &str, message: &str) -> Value {
        json!({ "containerStatuses": [{
            "name": "agent", "image": "x:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": reason, "message": message } },
        }] })
    }

    fn unschedulable(message: &str) -> Value {
        json!({ "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
        }] })
    }

    #[tokio::test]
    async fn image_without_the_nodes_platform_is_wrong_architecture_for_every_runtime() {
        for message in [
            "failed to pull and unpack image \"x:1\": no match for platform in manifest: not found",
            "choosing an image from manifest list docker://x:1: no image found in manifest list for architecture \
             \"arm64\"",
            "no image found in image index for architecture \"arm64\", variant \"v8\", OS \"linux\"",
            "no matching manifest for linux/arm64/v8 in the manifest list entries",
            "image with reference x:1 was found but does not provide the specified platform (linux/arm64)",
        ] {
            let failure = failure_of(&waiting("ErrImagePull", message));
            assert!(
                matches!(failure, StartFailure::WrongArchitecture(_)),
                "{failure:?}"
            );
        }
    }

    #[tokio::test]
    async fn words_of_platform_or_labels_in_another_failure_are_not_wrong_architecture() {
        let failure = failure_of(&waiting(
            "ErrImagePull",
            "node affinity/selector: connection refused",
        ));
        assert!(
            matches!(failure, StartFailure::ImageUnavailable(_)),
            "{failure:?}"
        );
        let failure = failure_of(&waiting("CreateContainerError", "no match for platform"));
        assert!(matches!(failure, StartFailure::Failed(_)), "{failure:?}");
    }

    #[tokio::test]
    async fn unschedulable_pod_is_wrong_architecture_only_if_labels_exclude_every_node() {
        for (message, is_architecture) in [
            (
                "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/2 nodes \
                 are available: 2 Preemption is not helpful for scheduling.",
                true,
            ),
            (
                "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
                true,
            ),
            (
                "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector. \
                 preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
                false,
            ),
            (
                "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had \
                 untolerated taint {node.kubernetes.io/unreachable: }.",
                false,
            ),
            ("no nodes available to schedule pods", false),
        ] {
            let failure = failure_of(&unschedulable(message));
            assert_eq!(
                matches!(failure, StartFailure::WrongArchitecture(_)),
                is_architecture,
                "{message}: {failure:?}"
            );
            let hint = Failure::from(failure).hint.unwrap();
            assert!(!hint.contains("--host-image"), "{hint}");
        }
    }
}
