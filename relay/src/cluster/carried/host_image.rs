//! Chooses the image that a carried agent runs in, if the user names none: the image of a pod that runs in the
//! namespace, since some node has pulled it already, otherwise the pause image, which every cluster pulls for its own
//! use. A session does not choose an image again that the agent's node could not pull.

use crate::cluster::access::{Access, innermost};
use crate::log;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::api::{Api, ListParams};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::timeout;

/// The image of pod sandboxes: small, for all architectures, and in a registry without rate limits.
const PAUSE_IMAGE: &str = "registry.k8s.io/pause:3.10";

/// The label of nodes that names their operating system.
const OS_LABEL: &str = "kubernetes.io/os";

/// The name of that label before Kubernetes 1.14.
const OLD_OS_LABEL: &str = "beta.kubernetes.io/os";

/// How many pods to list: enough to find an image, and few enough for a quick answer.
const MAX_PODS: u32 = 50;

/// How many nodes the pod's affinity names.
const MAX_NODES: usize = 3;

/// How many images of running pods to try before the pause image.
const MAX_UNPULLABLE: usize = 2;

/// Time limit for the list of pods.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// An image, the nodes that have it and the Secrets to pull it with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster) struct HostImage {
    /// The image as pods name it.
    pub(in crate::cluster) image: String,
    /// The names of the pull secrets of the pods with this image.
    pub(in crate::cluster) pull_secrets: Vec<String>,
    /// Nodes that have the image.
    pub(in crate::cluster) nodes: Vec<String>,
    /// Whether a node that has it asks the registry for it nevertheless.
    pub(in crate::cluster) is_always_pulled: bool,
    /// Why it was chosen, for the log.
    pub(in crate::cluster) reason: String,
}

impl HostImage {
    /// The image that the user names.
    pub(in crate::cluster) fn requested(image: &str) -> Self {
        Self::without_pod(image, "--host-image names it".to_owned())
    }

    /// The image if no pod of the namespace is known.
    pub(in crate::cluster) fn fallback() -> Self {
        Self::without_pod(PAUSE_IMAGE, "no pod of the namespace is known".to_owned())
    }

    /// The image of a workload's container, the Secrets to pull it with, and why it is that one.
    pub(in crate::cluster) fn of_workload(image: &str, pull_secrets: Vec<String>, reason: &str) -> Self {
        Self {
            pull_secrets,
            ..Self::without_pod(image, reason.to_owned())
        }
    }

    fn without_pod(image: &str, reason: String) -> Self {
        Self {
            image: image.to_owned(),
            pull_secrets: Vec::new(),
            nodes: Vec::new(),
            is_always_pulled: false,
            reason,
        }
    }
}

/// The images for the agents of a workload, the best first, and how many of them a node could not pull in this session.
pub(in crate::cluster) struct WorkloadImages {
    images: Vec<HostImage>,
    unpullable: Cell<usize>,
}

impl WorkloadImages {
    /// These images; none if there are none.
    pub(super) fn new(images: Vec<HostImage>) -> Option<Self> {
        (!images.is_empty()).then(|| Self {
            images,
            unpullable: Cell::new(0),
        })
    }

    /// The one to try, after all of them the pause image. The images of other pods are no choice: the variables that
    /// they set would be taken for the workload's.
    pub(super) fn current(&self) -> HostImage {
        let current = self.images.get(self.unpullable.get());
        current.cloned().unwrap_or_else(|| {
            let reason = "a node cannot pull the image of the target's container";
            HostImage::without_pod(PAUSE_IMAGE, reason.to_owned())
        })
    }

    /// Goes on to the next one. Returns false after the pause image, and begins anew.
    pub(super) fn try_next(&self) -> bool {
        let tried = self.unpullable.get();
        let is_another_left = tried < self.images.len();
        self.unpullable.set(if is_another_left { tried + 1 } else { 0 });
        is_another_left
    }
}

/// The images that a node could not pull in this session.
#[derive(Default)]
pub(in crate::cluster) struct UnpullableImages(RefCell<BTreeSet<String>>);

impl UnpullableImages {
    /// Adds an image. Returns false if no other is left, and forgets all images so that the next start tries them
    /// again.
    pub(in crate::cluster) fn add(&self, image: &str) -> bool {
        let mut images = self.0.borrow_mut();
        let is_another_left = image != PAUSE_IMAGE;
        match is_another_left {
            true => drop(images.insert(image.to_owned())),
            false => images.clear(),
        }
        is_another_left
    }
}

/// Chooses an image by the pods that run in the namespace.
pub(in crate::cluster) async fn choose(access: &Access, unpullable: &UnpullableImages) -> HostImage {
    if unpullable.0.borrow().len() >= MAX_UNPULLABLE {
        return HostImage::without_pod(
            PAUSE_IMAGE,
            "the nodes cannot get those of running pods".to_owned(),
        );
    }
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), &access.namespace);
    let parameters = ListParams::default()
        .fields("status.phase=Running")
        // in a namespace with many sessions these would leave no room for others
        .labels("app.kubernetes.io/managed-by!=kinject")
        .limit(MAX_PODS);
    let reason = match timeout(LIST_TIMEOUT, pods.list(&parameters)).await {
        Ok(Ok(pods)) => match of_pods(&pods.items, &unpullable.0.borrow()) {
            Some(image) => return image,
            None => format!("no pod that runs in namespace {} has another", access.namespace),
        },
        Ok(Err(error)) => {
            log::info!("cannot look for an image: {}", innermost(&error));
            format!("the pods of namespace {} cannot be listed", access.namespace)
        }
        Err(_) => "the cluster takes long to list pods".to_owned(),
    };
    HostImage::without_pod(PAUSE_IMAGE, reason)
}

/// The pods that use an image, and what they say about it.
#[derive(Default)]
struct Users<'a> {
    pods: Vec<&'a str>,
    /// Whether one of them can run on any node.
    is_on_ordinary_nodes: bool,
    nodes: BTreeSet<&'a str>,
    pull_secrets: BTreeSet<&'a str>,
}

/// The image that most nodes have, as far as these pods show. Images that only pods for special nodes use come last:
/// other nodes may be unable to pull them.
fn of_pods(pods: &[Pod], unpullable: &BTreeSet<String>) -> Option<HostImage> {
    let mut images: BTreeMap<&str, Users<'_>> = BTreeMap::new();
    for pod in pods {
        let images_of = images_of(pod)
            .into_iter()
            .filter(|image| !unpullable.contains(*image));
        for image in images_of {
            let users = images.entry(image).or_default();
            users.is_on_ordinary_nodes |= !is_for_special_nodes(pod);
            users.pods.extend(pod.metadata.name.as_deref());
            let spec = pod.spec.as_ref();
            users
                .nodes
                .extend(spec.and_then(|spec| spec.node_name.as_deref()));
            let secrets = spec.and_then(|spec| spec.image_pull_secrets.as_ref());
            users
                .pull_secrets
                .extend(secrets.into_iter().flatten().map(|secret| secret.name.as_str()));
        }
    }
    let most =
        |(_, users): &(&str, Users<'_>)| (users.is_on_ordinary_nodes, users.nodes.len(), users.pods.len());
    // among equals the first by name, so that every session makes the same choice
    let (image, users) = images.into_iter().rev().max_by_key(most)?;
    Some(HostImage {
        image: image.to_owned(),
        pull_secrets: users.pull_secrets.into_iter().map(str::to_owned).collect(),
        nodes: users
            .nodes
            .into_iter()
            .take(MAX_NODES)
            .map(str::to_owned)
            .collect(),
        is_always_pulled: false,
        reason: format!("pod {} runs it", users.pods.first().copied().unwrap_or_default()),
    })
}

/// Whether a pod selects nodes by labels, or tolerates more taints than the cluster adds to every pod.
fn is_for_special_nodes(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let is_of_cluster = |key: &Option<String>| {
        key.as_ref()
            .is_some_and(|key| key.starts_with("node.kubernetes.io/"))
    };
    let mut tolerations = spec.tolerations.iter().flatten();
    let mut selector = spec.node_selector.iter().flatten();
    selector.any(|(label, _)| label != OS_LABEL)
        || tolerations.any(|toleration| !is_of_cluster(&toleration.key))
}

/// Whether a pod is for Windows: by its `os` field or its node selector.
pub(in crate::cluster) fn is_windows(spec: &PodSpec) -> bool {
    let selector = spec.node_selector.as_ref();
    let named = |label: &str| selector.and_then(|selector| selector.get(label));
    spec.os.as_ref().is_some_and(|os| os.name == "windows")
        || [OS_LABEL, OLD_OS_LABEL]
            .iter()
            .any(|label| named(label).is_some_and(|os| os == "windows"))
}

/// The images of a pod's running containers; none if they need another runtime or operating system than the agent.
fn images_of(pod: &Pod) -> Vec<&str> {
    let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else {
        return Vec::new();
    };
    let labels = pod.metadata.labels.as_ref();
    let is_ours = labels
        .and_then(|labels| labels.get("app.kubernetes.io/managed-by"))
        .is_some_and(|manager| manager == "kinject");
    // a runtime class may be for images of another kind, such as WebAssembly
    if is_ours
        || is_windows(spec)
        || spec.runtime_class_name.is_some()
        || pod.metadata.deletion_timestamp.is_some()
    {
        return Vec::new();
    }
    let runs = |container: &&Container| {
        let mut statuses = status.container_statuses.iter().flatten();
        let status = statuses.find(|status| status.name == container.name);
        let state = status.and_then(|status| status.state.as_ref());
        state.is_some_and(|state| state.running.is_some())
    };
    let images = spec.containers.iter().filter(runs);
    images
        .filter_map(|container| container.image.as_deref())
        // an image ID of one node cannot be pulled by another
        .filter(|image| !image.starts_with("sha256:"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake_api::{self, Answer};
    use serde_json::{Value, json};

    fn pod(name: &str, node: &str, image: &str) -> Value {
        json!({
            "metadata": { "name": name },
            "spec": { "nodeName": node, "containers": [{ "name": "main", "image": image }] },
            "status": { "containerStatuses": [{
                "name": "main", "image": image, "imageID": "", "ready": true, "restartCount": 0,
                "state": { "running": {} },
            }] },
        })
    }

    fn chosen(pods: &[Value]) -> Option<HostImage> {
        let pods: Vec<Pod> = pods
            .iter()
            .map(|pod| serde_json::from_value(pod.clone()).unwrap())
            .collect();
        of_pods(&pods, &BTreeSet::new())
    }

    #[test]
    fn image_on_most_nodes_is_chosen_with_its_pull_secrets_and_nodes() {
        let mut private = pod("b", "two", "registry.example/app:1");
        private["spec"]["imagePullSecrets"] = json!([{ "name": "registry" }]);
        let chosen = chosen(&[
            pod("a", "one", "registry.example/app:1"),
            private,
            pod("c", "one", "busybox:1"),
            pod("d", "one", "busybox:1"),
            pod("e", "one", "busybox:1"),
        ])
        .unwrap();
        assert_eq!(chosen.image, "registry.example/app:1");
        assert_eq!(chosen.pull_secrets, ["registry"]);
        assert_eq!(chosen.nodes, ["one", "two"]);
        assert_eq!(chosen.reason, "pod a runs it");
    }

    #[test]
    fn host_image_choice_does_not_depend_on_the_order_of_pods() {
        let pods = [pod("a", "one", "x:1"), pod("b", "two", "y:1")];
        let [first, second] = pods.clone();
        assert_eq!(chosen(&pods).unwrap().image, "x:1");
        assert_eq!(chosen(&[second, first]).unwrap().image, "x:1");
    }

    #[test]
    fn pods_with_unsuitable_images_do_not_provide_the_host_image() {
        let altered = |alter: fn(&mut Value)| {
            let mut pod = pod("a", "one", "x:1");
            alter(&mut pod);
            pod
        };
        for (what, pod) in [
            (
                "kinject's own",
                altered(|pod| pod["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "kinject"})),
            ),
            (
                "Windows",
                altered(|pod| pod["spec"]["os"] = json!({"name": "windows"})),
            ),
            (
                "for nodes with Windows",
                altered(|pod| pod["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "windows"})),
            ),
            (
                "another runtime",
                altered(|pod| pod["spec"]["runtimeClassName"] = json!("wasm")),
            ),
            (
                "terminating",
                altered(|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")),
            ),
            (
                "waiting",
                altered(|pod| pod["status"]["containerStatuses"][0]["state"] = json!({"waiting": {}})),
            ),
            (
                "without a name",
                altered(|pod| pod["spec"]["containers"][0]["image"] = json!("sha256:0123")),
            ),
        ] {
            assert_eq!(chosen(&[pod]), None, "{what}");
        }
    }

    #[test]
    fn image_of_pods_for_special_nodes_comes_last() {
        let mut tolerant = [pod("a", "one", "gpu:1"), pod("b", "two", "gpu:1")];
        tolerant[0]["spec"]["tolerations"] = json!([{ "key": "gpu", "operator": "Exists" }]);
        tolerant[1]["spec"]["nodeSelector"] = json!({ "pool": "gpu" });
        let mut ordinary = pod("c", "one", "x:1");
        ordinary["spec"]["tolerations"] =
            json!([{ "key": "node.kubernetes.io/not-ready", "operator": "Exists" }]);
        ordinary["spec"]["nodeSelector"] = json!({ "kubernetes.io/os": "linux" });
        let [first, second] = tolerant;
        assert_eq!(
            chosen(&[first.clone(), second.clone(), ordinary]).unwrap().image,
            "x:1"
        );
        assert_eq!(chosen(&[first, second]).unwrap().image, "gpu:1");
    }

    #[tokio::test]
    async fn unpullable_images_are_skipped_and_the_pause_image_is_the_last() {
        let pods = [
            pod("a", "one", "x:1"),
            pod("b", "one", "y:1"),
            pod("c", "one", "z:1"),
        ];
        let list = json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods });
        let api = fake_api::always(Answer::object(list));
        let (access, unpullable) = (api.access(), UnpullableImages::default());
        for image in ["x:1", "y:1"] {
            assert_eq!(choose(&access, &unpullable).await.image, image);
            assert!(unpullable.add(image), "another is left");
        }
        assert_eq!(choose(&access, &unpullable).await.image, PAUSE_IMAGE);
        assert!(!unpullable.add(PAUSE_IMAGE), "no other is left");
        assert_eq!(choose(&access, &unpullable).await.image, "x:1");
    }

    #[tokio::test]
    async fn pause_image_is_chosen_without_pods_or_the_right_to_list_them() {
        let forbidden = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "pods is forbidden", "reason": "Forbidden", "code": 403 });
        let none = json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": [] });
        for (answer, reason) in [
            (
                Answer::object(none),
                "no pod that runs in namespace default has another",
            ),
            (
                Answer::refusal(403, forbidden),
                "the pods of namespace default cannot be listed",
            ),
        ] {
            let chosen = choose(&fake_api::always(answer).access(), &UnpullableImages::default()).await;
            assert_eq!(
                (chosen.image.as_str(), chosen.reason.as_str()),
                (PAUSE_IMAGE, reason)
            );
        }
    }
}
