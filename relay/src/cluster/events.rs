//! What the cluster's events tell of an agent's Job.
//!
//! They are a courtesy: a user may have no right to watch them, which is all that this takes, and whoever may write events
//! can forge them. The cluster forgets them after an hour.

use super::access::{Access, innermost};
use super::pace;
use crate::log;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, WatchEvent, WatchParams};
use std::time::Duration;

/// For how long, in seconds, the API server tells of events that are there already.
const EARLIER_EVENTS_SECONDS: u32 = 3;

/// How long it may take to do so.
const ANSWER_PATIENCE: Duration = Duration::from_secs(8);

/// The reasons of events by which the Job's controller tells that a Job is done: complete, failed, or out of time.
const ENDS: [&str; 3] = ["Completed", "BackoffLimitExceeded", "DeadlineExceeded"];

/// The reason of the event by which a node tells that it stops a pod's container.
const STOPS: [&str; 1] = ["Killing"];

/// Waits for an event which says that the Job's pod cannot be made, and returns its message.
pub(super) async fn refusal(access: &Access, job_uid: &str) -> Result<String, kube::Error> {
    let fields = format!("{},reason=FailedCreate", about(job_uid));
    let mut pace = pace::of_watches();
    loop {
        pace.tick().await;
        // from the beginning: the event may be older than the watch
        let stream = events(access)
            .watch(&WatchParams::default().fields(&fields), "0")
            .await?;
        futures::pin_mut!(stream);
        // a watch that breaks has ended
        while let Ok(Some(event)) = stream.try_next().await {
            if let WatchEvent::Added(event) | WatchEvent::Modified(event) = event {
                return Ok(event.message.unwrap_or_default());
            }
        }
    }
}

/// Whether an event tells that the Job was done. None if the cluster does not show even that the pod was stopped: it may have
/// forgotten both, not have been told, or not let them be read.
pub(super) async fn tell_of_end(access: &Access, job_uid: &str, pod_uid: &str) -> Option<bool> {
    let found = async {
        let is_remembered = there_is(access, &format!("involvedObject.uid={pod_uid}"), &STOPS).await?;
        let is_told = there_is(access, &about(job_uid), &ENDS).await?;
        Ok::<_, kube::Error>((is_told || is_remembered).then_some(is_told))
    };
    match tokio::time::timeout(ANSWER_PATIENCE, found).await {
        Ok(Ok(is_told)) => is_told,
        Ok(Err(error)) => {
            log::info!(
                "the events of the agent's Job cannot be read: {}",
                innermost(&error)
            );
            None
        }
        Err(_) => None,
    }
}

/// Whether there is an event about that object with one of these reasons.
async fn there_is(access: &Access, fields: &str, reasons: &[&str]) -> Result<bool, kube::Error> {
    // what is there already comes first, without a word where that ends
    let parameters = WatchParams::default()
        .fields(fields)
        .timeout(EARLIER_EVENTS_SECONDS);
    let stream = events(access).watch(&parameters, "0").await?;
    futures::pin_mut!(stream);
    while let Some(event) = stream.try_next().await? {
        match event {
            WatchEvent::Added(event) | WatchEvent::Modified(event) => {
                let reason = event.reason.as_deref().unwrap_or_default();
                if reasons.contains(&reason) {
                    return Ok(true);
                }
            }
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
        }
    }
    Ok(false)
}

/// Whether a refusal of a pod says that it needs limits, in the words of Kubernetes' quotas (ResourceQuota with
/// `limits.cpu` or `limits.memory`) and limit ranges (LimitRange of type Pod, or with a ratio).
pub(super) fn demands_limits(message: &str) -> bool {
    message.contains("must specify limits.")
        || message.contains("; limits.") && message.contains("must specify ")
        || message.contains("No limit is specified")
        || message.contains("no limit is specified")
}

fn events(access: &Access) -> Api<Event> {
    Api::namespaced(access.client.clone(), &access.namespace)
}

/// Which events are about a Job: those of its UID, since its name may have been another Job's, and whoever may write events
/// can name any Job before it is there.
fn about(job_uid: &str) -> String {
    format!("involvedObject.kind=Job,involvedObject.uid={job_uid}")
}

#[cfg(test)]
mod tests {
    use super::super::fake_api::{self, Answer};
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn pod_denial_for_missing_limits_is_distinguished_from_others() {
        for demand in [
            "pods \"a\" is forbidden: failed quota: q: must specify limits.cpu for: agent; limits.memory for: agent",
            "pods \"a\" is forbidden: failed quota: q: must specify requests.storage for: agent; limits.cpu for: agent",
            "pods \"a\" is forbidden: maximum cpu usage per Pod is 1. No limit is specified",
            "pods \"a\" is forbidden: cpu max limit to request ratio per Container is 2, but no limit is specified or limit is 0",
        ] {
            assert!(demands_limits(demand), "{demand}");
        }
        for other in [
            "pods \"a\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0",
            "pods \"a\" is forbidden: exceeded quota: q, requested: limits.cpu=500m, used: limits.cpu=0, limited: limits.cpu=100m",
            "pods \"a\" is forbidden: failed quota: q: must specify requests.ephemeral-storage for: agent",
            "pods \"a\" is forbidden: minimum cpu usage per Container is 100m, but request is 10m",
        ] {
            assert!(!demands_limits(other), "{other}");
        }
    }

    #[test]
    fn event_field_selector_names_the_job_by_uid() {
        assert_eq!(about("b9a6"), "involvedObject.kind=Job,involvedObject.uid=b9a6");
    }

    fn event(reason: &str) -> Value {
        json!({ "type": "ADDED", "object": {
            "apiVersion": "v1", "kind": "Event", "metadata": { "name": "a" }, "reason": reason,
            "involvedObject": {},
        } })
    }

    #[tokio::test]
    async fn job_is_finished_if_an_event_says_so_and_unknown_without_readable_events() {
        let forbidden = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "events is forbidden", "reason": "Forbidden", "code": 403 });
        let events = |reasons: &[&str]| Answer::events(reasons.iter().map(|reason| event(reason)));
        let stopped = || events(&["Started", "Killing"]);
        for (of_the_job, of_its_pod, expected) in [
            (events(&["SuccessfulCreate", "Completed"]), stopped(), Some(true)),
            (events(&["BackoffLimitExceeded"]), stopped(), Some(true)),
            (events(&["SuccessfulCreate"]), stopped(), Some(false)),
            (events(&[]), stopped(), Some(false)),
            // what the cluster does not show may have been
            (events(&["SuccessfulCreate"]), events(&["Started"]), None),
            (events(&[]), events(&[]), None),
            (events(&["BackoffLimitExceeded"]), events(&[]), Some(true)),
            (Answer::refusal(403, forbidden.clone()), stopped(), None),
            (
                Answer::events([json!({ "type": "ERROR", "object": forbidden })]),
                stopped(),
                None,
            ),
        ] {
            let api = fake_api::FakeApi::new(move |path| match path.contains("pod-uid") {
                true => of_its_pod.clone(),
                false => of_the_job.clone(),
            });
            assert_eq!(tell_of_end(&api.access(), "b9a6", "pod-uid").await, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn event_watches_that_end_at_once_are_reopened_at_most_five_times_a_second() {
        let api = fake_api::always(Answer::events([]));
        let access = api.access();
        let asked = api.asked_within(Duration::from_secs(10), refusal(&access, "b9a6"));
        let asked = asked.await;
        assert!((40..=51).contains(&asked), "{asked}");
    }
}
