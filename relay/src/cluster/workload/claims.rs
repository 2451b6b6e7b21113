//! Claims that not every node can mount: where the agent's pod has to run, or that it cannot have them.

use super::pod::WITHOUT_FILES;
use crate::cluster::access::{Access, innermost};
use crate::cluster::job;
use crate::log;
use crate::report::Failure;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodSpec};
use kinject_protocol::workload::WorkloadName;
use kube::api::{Api, ListParams};
use std::time::Duration;
use tokio::time::timeout;

/// Time limit for a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Who may mount a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    /// Pods of several nodes.
    Nodes,
    /// Pods of one node, as far as is known.
    OneNode,
    /// One pod.
    OnePod,
}

/// A pod that mounts a claim, and its node.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    pod: String,
    node: String,
}

/// The node on which alone the claims can be mounted, if there is one. The session asks before it makes an agent in the
/// place of one that ends, whose pod it may still have: that keeps no pod from a claim of one pod, but from other nodes
/// a claim of one node.
pub(super) async fn node(
    access: &Access,
    session: &str,
    workload: &WorkloadName,
    claims: &[&str],
) -> Result<Option<String>, Failure> {
    if claims.is_empty() {
        return Ok(None);
    }
    let sharings = join_all(claims.iter().map(|claim| sharing(access, claim)));
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), &access.namespace);
    let parameters = ListParams::default();
    let listed = timeout(ANSWER_TIMEOUT, pods.list(&parameters));
    let (sharings, listed) = tokio::join!(sharings, listed);
    let pods = listed
        .map_err(|_| access.silence("which pods mount the workload's volumes"))?
        .map_err(|error| access.failure(&error, "look for the pods that mount the workload's volumes"))?;
    let mut pinned: Option<(&str, Holder)> = None;
    for (claim, sharing) in claims.iter().zip(sharings) {
        let Some(holder) = holder(&pods.items, claim, sharing, session) else {
            continue;
        };
        match (sharing, &pinned) {
            (Sharing::Nodes, _) => {}
            (Sharing::OnePod, _) => {
                return Err(Failure::lasting(
                    format!(
                        "{workload} mounts the claim {claim}, which one pod can mount (ReadWriteOncePod): {} does",
                        holder.pod
                    ),
                    WITHOUT_FILES,
                ));
            }
            (Sharing::OneNode, Some((other_claim, other))) if other.node != holder.node => {
                return Err(Failure::lasting(
                    format!(
                        "the claims of {workload} are mounted on two nodes, and no pod can mount both: {other_claim} \
                         on {}, {claim} on {}",
                        other.node, holder.node
                    ),
                    WITHOUT_FILES,
                ));
            }
            (Sharing::OneNode, _) => {
                log::info!(
                    "the agent has to run on node {}: pod {} mounts the claim {claim} there",
                    holder.node,
                    holder.pod
                );
                pinned = Some((claim, holder));
            }
        }
    }
    Ok(pinned.map(|(_, holder)| holder.node))
}

/// The sharing of a claim by its access modes. One that the user may not read is taken for one node's.
async fn sharing(access: &Access, claim: &str) -> Sharing {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(access.client.clone(), &access.namespace);
    let modes = match timeout(ANSWER_TIMEOUT, claims.get(claim)).await {
        Ok(Ok(claim)) => {
            let in_use = claim.status.and_then(|status| status.access_modes);
            let wanted = claim.spec.and_then(|spec| spec.access_modes);
            in_use.or(wanted).unwrap_or_default()
        }
        Ok(Err(error)) => {
            log::info!(
                "the access modes of the claim {claim} are not known: {}",
                innermost(&error)
            );
            Vec::new()
        }
        Err(_) => Vec::new(),
    };
    let has = |mode: &str| modes.iter().any(|known| known == mode);
    match (
        has("ReadWriteMany") || has("ReadOnlyMany"),
        has("ReadWriteOncePod"),
    ) {
        (true, _) => Sharing::Nodes,
        (false, true) => Sharing::OnePod,
        (false, false) => Sharing::OneNode,
    }
}

/// A pod that has a node and mounts that claim, and has not ended. Agents that are terminating do not count, nor do
/// others of this session for a claim of one pod: another one takes their place.
fn holder(pods: &[Pod], claim: &str, sharing: Sharing, session: &str) -> Option<Holder> {
    let own_labels = job::labels(session);
    let mounts = |spec: &PodSpec| {
        let mut volumes = spec.volumes.iter().flatten();
        volumes.any(|volume| {
            let source = volume.persistent_volume_claim.as_ref();
            source.is_some_and(|source| source.claim_name == claim)
        })
    };
    let is_of_session = |pod: &Pod| {
        let labels = pod.metadata.labels.as_ref();
        labels.is_some_and(|labels| {
            own_labels
                .iter()
                .all(|(name, value)| labels.get(name) == Some(value))
        })
    };
    let counts = |pod: &&Pod| !is_leaving_agent(pod) && (sharing != Sharing::OnePod || !is_of_session(pod));
    let mut pods: Vec<_> = pods.iter().filter(counts).collect();
    // others stay, and the session's own agent is about to go
    pods.sort_by_key(|pod| is_of_session(pod));
    pods.into_iter().find_map(|pod| {
        let spec = pod.spec.as_ref().filter(|spec| mounts(spec))?;
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        (!matches!(phase, Some("Succeeded" | "Failed"))).then_some(())?;
        Some(Holder {
            pod: pod.metadata.name.clone().unwrap_or_default(),
            node: spec.node_name.clone()?,
        })
    })
}

fn is_leaving_agent(pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let manager = labels.and_then(|labels| labels.get("app.kubernetes.io/managed-by"));
    pod.metadata.deletion_timestamp.is_some() && manager.is_some_and(|manager| manager == "kinject")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake_api::{Answer, FakeApi};
    use serde_json::{Value, json};

    fn pod(name: &str, node: &str, claim: &str, phase: &str) -> Value {
        json!({
            "metadata": { "name": name },
            "spec": { "nodeName": node, "containers": [],
                "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }] },
            "status": { "phase": phase },
        })
    }

    /// A namespace in which each claim has the access mode of its own name.
    async fn node_of(claims: &[&str], pods: Vec<Value>) -> Result<Option<String>, Failure> {
        let list = json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods });
        let api = FakeApi::new(move |path| {
            let claim = path.split("/persistentvolumeclaims/").nth(1);
            match claim.and_then(|claim| claim.split(['?', '.']).next()) {
                Some("unreadable") => Answer::refusal(
                    403,
                    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                        "message": "forbidden", "reason": "Forbidden", "code": 403 }),
                ),
                Some(mode) => Answer::object(json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "metadata": { "name": mode }, "spec": { "accessModes": [mode] } })),
                None => Answer::object(list.clone()),
            }
        });
        node(&api.access(), "0123abcd", &"sts/db".parse().unwrap(), claims).await
    }

    #[tokio::test]
    async fn claim_of_one_node_requires_the_node_of_the_pod_that_mounts_it() {
        for claim in ["ReadWriteOnce", "unreadable"] {
            let pods = vec![pod("db-0", "one", claim, "Running")];
            assert_eq!(
                node_of(&[claim], pods).await.unwrap().as_deref(),
                Some("one"),
                "{claim}"
            );
        }
    }

    #[tokio::test]
    async fn shared_unused_and_released_claims_require_no_node() {
        let shared = vec![pod("db-0", "one", "ReadWriteMany", "Running")];
        assert_eq!(node_of(&["ReadWriteMany"], shared).await.unwrap(), None);
        assert_eq!(node_of(&["ReadWriteOnce"], Vec::new()).await.unwrap(), None);
        let ended = vec![pod("db-0", "one", "ReadWriteOnce", "Succeeded")];
        assert_eq!(node_of(&["ReadWriteOnce"], ended).await.unwrap(), None);
    }

    #[tokio::test]
    async fn claim_of_one_pod_that_is_mounted_is_refused_with_the_way_on() {
        let pods = vec![pod("db-0", "one", "ReadWriteOncePod", "Running")];
        let failure = node_of(&["ReadWriteOncePod"], pods).await.unwrap_err();
        assert!(
            failure.message.ends_with("(ReadWriteOncePod): db-0 does"),
            "{}",
            failure.message
        );
        assert!(failure.hint.unwrap().contains("--files none"));
        assert_eq!(node_of(&["ReadWriteOncePod"], Vec::new()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn terminating_agent_of_the_session_does_not_keep_the_next_from_its_claim() {
        let mut agent = pod("kinject-agent-0-x", "one", "ReadWriteOncePod", "Running");
        agent["metadata"]["labels"] = json!({ "app.kubernetes.io/managed-by": "kinject" });
        agent["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(node_of(&["ReadWriteOncePod"], vec![agent]).await.unwrap(), None);
    }

    /// The garbage collector deletes the pod some time after its Job.
    #[tokio::test]
    async fn agent_of_the_session_whose_deletion_has_not_begun_does_not_hold_its_claim() {
        let agent = |session: &str| {
            let mut agent = pod("kinject-agent-x", "one", "ReadWriteOncePod", "Running");
            agent["metadata"]["labels"] = json!(job::labels(session));
            agent
        };
        let own = vec![agent("0123abcd")];
        assert_eq!(node_of(&["ReadWriteOncePod"], own).await.unwrap(), None);
        let others = vec![agent("4567cdef")];
        assert!(node_of(&["ReadWriteOncePod"], others).await.is_err());
    }

    /// The volume is attached to that node until the pod is gone, and no other node can attach it meanwhile.
    #[tokio::test]
    async fn claim_of_one_node_that_an_agent_of_the_session_still_mounts_requires_its_node() {
        let mut agent = pod("kinject-agent-x", "one", "ReadWriteOnce", "Running");
        agent["metadata"]["labels"] = json!(job::labels("0123abcd"));
        let node = node_of(&["ReadWriteOnce"], vec![agent.clone()]).await.unwrap();
        assert_eq!(node.as_deref(), Some("one"));
        let moved = vec![agent, pod("web-0", "two", "ReadWriteOnce", "Running")];
        let node = node_of(&["ReadWriteOnce"], moved).await.unwrap();
        assert_eq!(node.as_deref(), Some("two"), "others go first");
    }

    #[tokio::test]
    async fn claims_of_two_nodes_are_refused_by_their_nodes() {
        let pods = vec![
            pod("db-0", "one", "ReadWriteOnce", "Running"),
            pod("db-1", "two", "ReadWriteOnce.other", "Running"),
        ];
        let failure = node_of(&["ReadWriteOnce", "ReadWriteOnce.other"], pods)
            .await
            .unwrap_err();
        assert!(
            failure.message.contains("on one") && failure.message.contains("on two"),
            "{}",
            failure.message
        );
    }
}
