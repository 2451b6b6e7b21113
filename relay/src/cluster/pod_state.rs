//! Whether a pod that was found still exists.
//!
//! Requests address a pod by its name, which another pod can take at any time. So the relay reads the pod's UID once
//! more when a tunnel to that name is open: if it is the same then, the tunnel leads to that pod, since a pod that is
//! gone never returns.

use super::access::Access;
use super::pod_startup::RunningPod;
use crate::report::Failure;
use k8s_openapi::api::core::v1::Pod;
use kinject_escape::word;
use kube::api::Api;
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;

/// Time limit for a request for one pod.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The state of a pod that ran before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PodState {
    /// It runs.
    Running,
    /// It exists and does not run; its phase.
    Ended(String),
    /// It is terminating since that second of the API server's clock.
    Terminating(i64),
    /// No pod has that name.
    Deleted,
    /// Another pod has its name.
    Replaced,
}

impl fmt::Display for PodState {
    /// Completes "the agent's pod NAME".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("runs"),
            Self::Ended(phase) => write!(f, "ended ({phase})"),
            Self::Terminating(_) => f.write_str("is being deleted"),
            Self::Deleted => f.write_str("was deleted"),
            Self::Replaced => f.write_str("was replaced by another one of the same name"),
        }
    }
}

impl PodState {
    /// Classifies the pod that has the name of a known one.
    fn of(pod: &RunningPod, found: Option<&Pod>) -> Self {
        let Some(found) = found else {
            return Self::Deleted;
        };
        if found.metadata.uid.as_deref() != Some(&pod.uid) {
            return Self::Replaced;
        }
        let phase = found.status.as_ref().and_then(|status| status.phase.clone());
        // a finalizer may keep a pod that had ended before it was deleted
        match (phase.as_deref(), deleted_at(found)) {
            (Some("Succeeded" | "Failed"), _) => {}
            (_, Some(since)) => return Self::Terminating(since),
            (Some("Running"), None) => return Self::Running,
            (_, None) => {}
        }
        Self::Ended(phase.unwrap_or_else(|| "Unknown".to_owned()))
    }
}

/// When a pod that still exists was deleted, in seconds of the API server's clock.
pub(super) fn deleted_at(pod: &Pod) -> Option<i64> {
    // the API server writes the end of the grace period
    let end = pod.metadata.deletion_timestamp.as_ref()?;
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
    Some(end.0.as_second().saturating_sub(grace))
}

/// Requests the state of a pod by its name.
pub(super) async fn look(access: &Access, pod: &RunningPod) -> Result<PodState, Failure> {
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), &access.namespace);
    // a pooled connection may be dead without an error
    let found = timeout(ANSWER_TIMEOUT, pods.get_opt(&pod.name))
        .await
        .map_err(|_| access.silence("where the agent's pod is"))?
        .map_err(|error| access.failure(&error, "look for the agent's pod"))?;
    Ok(PodState::of(pod, found.as_ref()))
}

/// Checks that a tunnel which was opened by a pod's name leads to that pod.
pub(super) async fn confirm(access: &Access, pod: &RunningPod) -> Result<(), Failure> {
    let name = &pod.name;
    match look(access, pod).await? {
        PodState::Running => Ok(()),
        PodState::Replaced => Err(Failure::lasting(
            format!("another pod took the name {name} of the agent's: the tunnel to it was dropped, unused"),
            &format!(
                "somebody who may edit namespace {} made it: look at `kubectl -n {} get pod {} -o yaml`",
                access.namespace,
                word(&access.namespace),
                word(name)
            ),
        )),
        gone => Err(Failure::passing(
            format!("the agent's pod {name} {gone}"),
            "look for what deletes pods: run `kubectl get events`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::rc::Rc;

    #[test]
    fn pod_state_follows_from_uid_phase_and_deletion_timestamp() {
        let ours = RunningPod {
            name: "agent-x".to_owned(),
            uid: "ours".to_owned(),
            image_id: String::new(),
            addresses: Vec::new(),
            spec: Rc::default(),
            version: Rc::default(),
        };
        let found = |uid: &str, phase: &str, deleted: Option<&str>| -> PodState {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {
                    "name": "agent-x", "uid": uid, "deletionTimestamp": deleted, "deletionGracePeriodSeconds": 30,
                },
                "status": { "phase": phase },
            }))
            .unwrap();
            PodState::of(&ours, Some(&pod))
        };
        assert_eq!(found("ours", "Running", None), PodState::Running);
        assert_eq!(found("another", "Running", None), PodState::Replaced);
        assert_eq!(
            found("ours", "Running", Some("1970-01-01T00:01:00Z")),
            PodState::Terminating(30)
        );
        assert_eq!(
            found("ours", "Failed", None),
            PodState::Ended("Failed".to_owned())
        );
        assert_eq!(PodState::of(&ours, None), PodState::Deleted);
    }
}
