//! The image that a carried agent runs in, if the user names none: that of a pod which runs in the namespace, since some
//! node has it already, and otherwise the one that each cluster pulls for its own use.

use crate::cluster::access::{Access, innermost};
use crate::log;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{Api, ListParams};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::timeout;

/// What containers' sandboxes are made of: small, for all architectures, and not limited by a registry's rates.
const PAUSE_IMAGE: &str = "registry.k8s.io/pause:3.10";

/// How many pods are looked at: enough to find one, few enough to be told of in a moment.
const MOST_PODS: u32 = 50;

/// How many nodes are named to the scheduler.
const MOST_NODES: usize = 3;

/// How long the API server may take to list pods.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// An image, where it is and how it is pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster) struct HostImage {
    /// The image as pods name it.
    pub(in crate::cluster) image: String,
    /// The names of the Secrets that the pod with this image pulls it with.
    pub(in crate::cluster) pull_secrets: Vec<String>,
    /// Nodes that have the image.
    pub(in crate::cluster) nodes: Vec<String>,
    /// Why it was chosen.
    pub(in crate::cluster) reason: String,
}

impl HostImage {
    /// The image that the user names.
    pub(in crate::cluster) fn asked(image: &str) -> Self {
        Self::without_pod(image, "--host-image names it".to_owned())
    }

    /// The image where no pod of the namespace is known.
    pub(in crate::cluster) fn fallback() -> Self {
        Self::without_pod(PAUSE_IMAGE, "no pod of the namespace is known".to_owned())
    }

    fn without_pod(image: &str, reason: String) -> Self {
        Self {
            image: image.to_owned(),
            pull_secrets: Vec::new(),
            nodes: Vec::new(),
            reason,
        }
    }
}

/// Chooses an image by what runs in the namespace.
pub(in crate::cluster) async fn choose(access: &Access) -> HostImage {
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), &access.namespace);
    let parameters = ListParams::default()
        .fields("status.phase=Running")
        .limit(MOST_PODS);
    let reason = match timeout(ANSWER_PATIENCE, pods.list(&parameters)).await {
        Ok(Ok(pods)) => match of_pods(&pods.items) {
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

/// What is known of an image by the pods that have it.
#[derive(Default)]
struct Users<'a> {
    pods: Vec<&'a str>,
    nodes: BTreeSet<&'a str>,
    pull_secrets: BTreeSet<&'a str>,
}

/// The image that most nodes have, by these pods.
fn of_pods(pods: &[Pod]) -> Option<HostImage> {
    let mut images: BTreeMap<&str, Users<'_>> = BTreeMap::new();
    for pod in pods {
        for image in images_of(pod) {
            let users = images.entry(image).or_default();
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
    let most = |(_, users): &(&str, Users<'_>)| (users.nodes.len(), users.pods.len());
    // of equals the first by name, so that a second session makes the same choice
    let (image, users) = images.into_iter().rev().max_by_key(most)?;
    Some(HostImage {
        image: image.to_owned(),
        pull_secrets: users.pull_secrets.into_iter().map(str::to_owned).collect(),
        nodes: users
            .nodes
            .into_iter()
            .take(MOST_NODES)
            .map(str::to_owned)
            .collect(),
        reason: format!("pod {} runs it", users.pods.first().copied().unwrap_or_default()),
    })
}

/// The images of a pod's running containers, if Linux runs them in the ordinary way.
fn images_of(pod: &Pod) -> Vec<&str> {
    let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else {
        return Vec::new();
    };
    let labels = pod.metadata.labels.as_ref();
    let is_ours = labels
        .and_then(|labels| labels.get("app.kubernetes.io/managed-by"))
        .is_some_and(|manager| manager == "kinject");
    let is_windows = spec.os.as_ref().is_some_and(|os| os.name == "windows");
    // another runtime may take images of its own kind, as for WebAssembly
    if is_ours || is_windows || spec.runtime_class_name.is_some() || pod.metadata.deletion_timestamp.is_some()
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
        // the number of an image on one node is no name for another
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
        of_pods(&pods)
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
                "another runtime",
                altered(|pod| pod["spec"]["runtimeClassName"] = json!("wasm")),
            ),
            (
                "going",
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

    #[tokio::test]
    async fn host_image_is_pause_without_pods_or_the_right_to_list_them() {
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
            let chosen = choose(&fake_api::always(answer).access()).await;
            assert_eq!(
                (chosen.image.as_str(), chosen.reason.as_str()),
                (PAUSE_IMAGE, reason)
            );
        }
    }
}
