//! The workload's own pods: on which nodes they run, and which image.

use super::find::PodsOf;
use crate::cluster::access::Access;
use crate::log;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use std::time::Duration;
use tokio::time::timeout;

/// Time limit for the list of pods.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// How many nodes the agent's pod prefers.
const MAX_NODES: usize = 3;

/// What the pods show that run the image of the workload's container, the newest first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Replicas {
    /// Their nodes.
    pub(super) nodes: Vec<String>,
    /// The IDs of the image, as their nodes report them.
    pub(super) image_ids: Vec<String>,
}

/// Looks at the pods of a workload. A session does without them, so a failure is for the log.
pub(super) async fn find(access: &Access, pods: Option<&PodsOf>, container: &Container) -> Replicas {
    let Some(pods) = pods else {
        return Replicas::default();
    };
    let listed = timeout(LIST_TIMEOUT, pods.list(access)).await;
    match listed.unwrap_or_else(|_| Err("no answer".to_owned())) {
        Ok(pods) => of_pods(pods, container),
        Err(why) => {
            log::info!("the nodes and the image of the workload's pods are not known: {why}");
            Replicas::default()
        }
    }
}

/// The status of a container that runs in a pod, unless the pod is being deleted.
pub(super) fn running<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let mut statuses = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    let status = statuses.find(|status| status.name == container)?;
    let state = status.state.as_ref()?;
    state.running.is_some().then_some(status)
}

/// Pods of another image are left from before a rollout.
fn of_pods(mut pods: Vec<Pod>, container: &Container) -> Replicas {
    pods.sort_by(|a, b| b.metadata.creation_timestamp.cmp(&a.metadata.creation_timestamp));
    let mut replicas = Replicas::default();
    for pod in &pods {
        let (Some(spec), Some(status)) = (&pod.spec, running(pod, &container.name)) else {
            continue;
        };
        let mut containers = spec.containers.iter();
        if !containers.any(|other| other.name == container.name && other.image == container.image) {
            continue;
        }
        if let Some(node) = &spec.node_name
            && !replicas.nodes.contains(node)
            && replicas.nodes.len() < MAX_NODES
        {
            replicas.nodes.push(node.clone());
        }
        if !status.image_id.is_empty() && !replicas.image_ids.contains(&status.image_id) {
            replicas.image_ids.push(status.image_id.clone());
        }
    }
    replicas
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake_api::{self, Answer};
    use serde_json::{Value, json};

    fn pod(node: &str, image: &str, id: &str, hour: u8) -> Value {
        json!({
            "metadata": { "name": node, "creationTimestamp": format!("2026-01-01T{hour:02}:00:00Z") },
            "spec": { "nodeName": node, "containers": [
                { "name": "proxy", "image": "app:2" }, { "name": "app", "image": image },
            ] },
            "status": { "containerStatuses": [{
                "name": "app", "image": image, "imageID": id, "ready": true, "restartCount": 0,
                "state": { "running": {} },
            }] },
        })
    }

    fn app() -> Container {
        serde_json::from_value(json!({ "name": "app", "image": "app:2" })).unwrap()
    }

    async fn found(items: Vec<Value>) -> Replicas {
        let list = json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items });
        let api = fake_api::always(Answer::object(list));
        let pods =
            PodsOf::Selector(serde_json::from_value(json!({ "matchLabels": { "app": "web" } })).unwrap());
        find(&api.access(), Some(&pods), &app()).await
    }

    #[tokio::test]
    async fn nodes_and_images_are_those_of_pods_that_run_the_templates_image_newest_first() {
        let mut deleted = pod("four", "app:2", "app@d", 4);
        deleted["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
        let mut waiting = pod("five", "app:2", "", 5);
        waiting["status"]["containerStatuses"][0]["state"] = json!({ "waiting": {} });
        let before = pod("three", "app:1", "app@c", 3);
        let pods = vec![
            pod("one", "app:2", "app@a", 1),
            pod("two", "app:2", "app@b", 2),
            before,
            deleted,
            waiting,
        ];
        let expected = Replicas {
            nodes: vec!["two".to_owned(), "one".to_owned()],
            image_ids: vec!["app@b".to_owned(), "app@a".to_owned()],
        };
        assert_eq!(found(pods).await, expected);
    }

    #[tokio::test]
    async fn workload_without_pods_or_whose_pods_cannot_be_listed_shows_nothing() {
        assert_eq!(found(Vec::new()).await, Replicas::default());
        let refusal = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "forbidden", "reason": "Forbidden", "code": 403 });
        let api = fake_api::always(Answer::refusal(403, refusal));
        let pods = PodsOf::Name("web-0".to_owned());
        assert_eq!(
            find(&api.access(), Some(&pods), &app()).await,
            Replicas::default()
        );
        assert_eq!(find(&api.access(), None, &app()).await, Replicas::default());
    }
}
