//! Whether a user deleted the Job of an agent whose pod is gone.
//!
//! The cluster removes Jobs, too: the TTL controller does so some seconds after the Job has finished, which it does
//! when its pod ends (the agent of a session that was disconnected for long exits) or is deleted alone. Afterwards both
//! cases look alike. So a deletion is explicit if the pod was running when it was deleted, and either that was so
//! recently that the TTL cannot have passed, or events report that the pod was stopped and none reports that the Job
//! finished. In doubt it is not: a superfluous agent costs less than a session.

use super::access::Access;
use super::pod_startup::RunningPod;
use super::pod_state::PodState;
use super::{events, job, pod_end};

/// How far apart, in seconds, the clocks of the API server and of the TTL controller may be.
const MAX_CLOCK_SKEW_SECONDS: i64 = 3;

/// Whether a user deleted the Job, which is gone or terminating at that second of the API server's clock.
pub(super) async fn is_explicit(
    access: &Access,
    job_uid: &str,
    pod: &RunningPod,
    gone: &PodState,
    at: i64,
) -> bool {
    let deleted = match gone {
        PodState::Terminating(since) => Some(*since),
        PodState::Deleted | PodState::Replaced => pod_end::deleted_while_running_at(access, pod).await,
        PodState::Running | PodState::Ended(_) => None,
    };
    let Some(deleted) = deleted else {
        return false;
    };
    at.saturating_sub(deleted) < i64::from(job::KEEP_FINISHED_SECONDS) - MAX_CLOCK_SKEW_SECONDS
        || events::job_finished(access, job_uid, &pod.uid).await == Some(false)
}

#[cfg(test)]
mod tests {
    use super::super::fake_api::{Answer, FakeApi};
    use super::*;
    use serde_json::{Value, json};
    use std::rc::Rc;

    /// The second of the API server's clock at which the pod was deleted.
    const DELETED: i64 = 1_767_225_600;

    fn pod_event(kind: &str, phase: &str, is_deleted: bool) -> Value {
        // the end of the deleted pod's grace period
        let end = is_deleted.then_some("2026-01-01T00:00:30Z");
        json!({ "type": kind, "object": {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "agent-x", "uid": "ours", "resourceVersion": "6",
                "deletionTimestamp": end, "deletionGracePeriodSeconds": 30,
            },
            "status": { "phase": phase },
        } })
    }

    fn failure(code: u16) -> Value {
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "no", "reason": "No", "code": code })
    }

    fn job_event(reason: &str) -> Answer {
        Answer::events([json!({ "type": "ADDED", "object": {
            "apiVersion": "v1", "kind": "Event", "metadata": { "name": "a" }, "reason": reason,
            "involvedObject": { "kind": "Job", "uid": "b9a6" },
        } })])
    }

    /// The kubelet's event that it stops the pod's container.
    fn stopped() -> Answer {
        job_event("Killing")
    }

    /// The decision on a Job that is missing so many seconds after its pod was deleted.
    async fn decision(pod_history: Answer, events: Answer, seconds: i64) -> bool {
        let api = FakeApi::new(
            move |path| match (path.contains("/events"), path.contains("ours")) {
                (true, true) => stopped(),
                (true, false) => events.clone(),
                (false, _) => pod_history.clone(),
            },
        );
        let pod = RunningPod {
            name: "agent-x".to_owned(),
            uid: "ours".to_owned(),
            image_id: String::new(),
            addresses: Vec::new(),
            spec: Rc::default(),
            version: Rc::new("5".to_owned().into()),
        };
        let at = DELETED + seconds;
        is_explicit(&api.access(), "b9a6", &pod, &PodState::Deleted, at).await
    }

    #[tokio::test]
    async fn job_deletion_is_explicit_only_if_the_cluster_cannot_have_removed_it() {
        let deleted = || {
            Answer::events([
                pod_event("MODIFIED", "Running", true),
                pod_event("DELETED", "Failed", true),
            ])
        };
        let ended = || {
            Answer::events([
                pod_event("MODIFIED", "Failed", false),
                pod_event("DELETED", "Failed", true),
            ])
        };
        let expired = || Answer::refusal(410, failure(410));
        let unreadable = || Answer::refusal(403, failure(403));
        for (case, history, events, seconds, expected) in [
            ("soon after its pod", deleted(), unreadable(), 5, true),
            (
                "later, and no event reports that it finished",
                deleted(),
                job_event("SuccessfulCreate"),
                60,
                true,
            ),
            (
                "later, and an event reports that it finished",
                deleted(),
                job_event("BackoffLimitExceeded"),
                60,
                false,
            ),
            (
                "later, and events are unreadable",
                deleted(),
                unreadable(),
                60,
                false,
            ),
            (
                "its pod had ended by itself",
                ended(),
                Answer::events([]),
                5,
                false,
            ),
            (
                "the pod's resource version has expired",
                expired(),
                Answer::events([]),
                5,
                false,
            ),
        ] {
            assert_eq!(decision(history, events, seconds).await, expected, "{case}");
        }
    }
}
