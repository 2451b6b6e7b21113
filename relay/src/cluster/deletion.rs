//! Whether somebody deleted the Job of an agent whose pod is gone.
//!
//! The cluster removes Jobs, too: some seconds after the pod has ended, as the pod of a session does that was away for long,
//! or one that was deleted alone. Afterwards both look alike. So it counts that the pod was at work when it was deleted, and
//! that this was not so long ago; or, where it was, that events tell of the pod's end and none of
//! the Job's. Where the cluster does not
//! tell, nobody did: an agent too many costs less than a session.

use super::access::Access;
use super::pod_state::PodState;
use super::pod_watch::RunningPod;
use super::{events, job, pod_end};

/// How far apart, in seconds, the clocks of the API server and of the controller that removes Jobs may be.
const CLOCKS_SECONDS: i64 = 3;

/// Whether somebody deleted the Job, which is gone or on its way out at that second of the API server's clock.
pub(super) async fn is_by_somebody(
    access: &Access,
    job_uid: &str,
    pod: &RunningPod,
    gone: &PodState,
    at: i64,
) -> bool {
    let deleted = match gone {
        PodState::Terminating(since) => Some(*since),
        PodState::Deleted | PodState::Replaced => pod_end::deleted_alive_at(access, pod).await,
        PodState::Running | PodState::Ended(_) => None,
    };
    let Some(deleted) = deleted else {
        return false;
    };
    at.saturating_sub(deleted) < i64::from(job::KEEP_FINISHED_SECONDS) - CLOCKS_SECONDS
        || events::tell_of_end(access, job_uid, &pod.uid).await == Some(false)
}

#[cfg(test)]
mod tests {
    use super::super::fake_api::{Answer, FakeApi};
    use super::*;
    use serde_json::{Value, json};
    use std::rc::Rc;

    /// The second of the API server's clock at which the pod was deleted.
    const DELETED: i64 = 1_767_225_600;

    fn changed(kind: &str, phase: &str, is_deleted: bool) -> Value {
        // the time by which a deleted pod has to be gone
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

    fn event(reason: &str) -> Answer {
        Answer::events([json!({ "type": "ADDED", "object": {
            "apiVersion": "v1", "kind": "Event", "metadata": { "name": "a" }, "reason": reason,
            "involvedObject": { "kind": "Job", "uid": "b9a6" },
        } })])
    }

    /// Events of the pod's, which the node writes.
    fn stopped() -> Answer {
        event("Killing")
    }

    /// Whether somebody deleted the Job that is gone so many seconds after its pod was deleted.
    async fn is_judged(pod_history: Answer, events: Answer, seconds: i64) -> bool {
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
            version: Rc::new("5".to_owned().into()),
        };
        let at = DELETED + seconds;
        is_by_somebody(&api.access(), "b9a6", &pod, &PodState::Deleted, at).await
    }

    #[tokio::test]
    async fn job_deletion_is_explicit_only_if_the_cluster_cannot_have_removed_it() {
        let deleted = || {
            Answer::events([
                changed("MODIFIED", "Running", true),
                changed("DELETED", "Failed", true),
            ])
        };
        let ended = || {
            Answer::events([
                changed("MODIFIED", "Failed", false),
                changed("DELETED", "Failed", true),
            ])
        };
        let forgotten = || Answer::refusal(410, failure(410));
        let unreadable = || Answer::refusal(403, failure(403));
        for (what, history, events, seconds, expected) in [
            ("soon after its pod", deleted(), unreadable(), 5, true),
            (
                "later, and nothing tells that it was done",
                deleted(),
                event("SuccessfulCreate"),
                60,
                true,
            ),
            (
                "later, and it was done",
                deleted(),
                event("BackoffLimitExceeded"),
                60,
                false,
            ),
            ("later, and nobody tells", deleted(), unreadable(), 60, false),
            (
                "its pod had ended by itself",
                ended(),
                Answer::events([]),
                5,
                false,
            ),
            (
                "nobody remembers its pod",
                forgotten(),
                Answer::events([]),
                5,
                false,
            ),
        ] {
            assert_eq!(is_judged(history, events, seconds).await, expected, "{what}");
        }
    }
}
