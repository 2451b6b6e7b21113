//! The cluster's events about an agent's Job.
//!
//! They are best effort: this takes the right to watch events, which a user may lack; anyone who may write events can
//! forge them; and the API server deletes them after an hour.

use super::access::{Access, innermost};
use super::pace;
use crate::log;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, WatchEvent, WatchParams};
use std::time::Duration;

/// Duration, in seconds, of a watch that reads the existing events.
const EXISTING_EVENTS_SECONDS: u32 = 3;

/// Time limit for reading them.
const READ_TIMEOUT: Duration = Duration::from_secs(8);

/// The reasons of the Job controller's events that a Job has finished: complete, failed, or past its deadline.
const JOB_FINISHED: [&str; 3] = ["Completed", "BackoffLimitExceeded", "DeadlineExceeded"];

/// The reason of the kubelet's event that it stops a pod's container.
const CONTAINER_STOPPED: [&str; 1] = ["Killing"];

/// Waits for an event that pod creation was denied for the Job, and returns its message.
pub(super) async fn refusal(access: &Access, job_uid: &str) -> Result<String, kube::Error> {
    let fields = format!("{},reason=FailedCreate", job_selector(job_uid));
    first_of(access, &fields, |event| Some(event.message.unwrap_or_default())).await
}

/// Waits for an event about a pod in which `judge` finds something.
pub(super) async fn about_pod<T>(
    access: &Access,
    pod_uid: &str,
    judge: impl FnMut(Event) -> Option<T>,
) -> Result<T, kube::Error> {
    first_of(access, &format!("involvedObject.uid={pod_uid}"), judge).await
}

async fn first_of<T>(
    access: &Access,
    fields: &str,
    mut judge: impl FnMut(Event) -> Option<T>,
) -> Result<T, kube::Error> {
    let mut pace = pace::of_watches();
    loop {
        pace.tick().await;
        // with the existing events: the event may be older than the watch
        let stream = events(access)
            .watch(&WatchParams::default().fields(fields), "0")
            .await?;
        futures::pin_mut!(stream);
        // a watch that fails is reopened like one that ends
        while let Ok(Some(event)) = stream.try_next().await {
            if let WatchEvent::Added(event) | WatchEvent::Modified(event) = event
                && let Some(found) = judge(event)
            {
                return Ok(found);
            }
        }
    }
}

/// Whether an event reports that the Job finished. None if there is not even an event that the pod was stopped: both
/// may have been deleted, not written yet, or not be readable for this user.
pub(super) async fn job_finished(access: &Access, job_uid: &str, pod_uid: &str) -> Option<bool> {
    let found = async {
        let pod_stopped = has_reason(
            access,
            &format!("involvedObject.uid={pod_uid}"),
            &CONTAINER_STOPPED,
        )
        .await?;
        let job_finished = has_reason(access, &job_selector(job_uid), &JOB_FINISHED).await?;
        Ok::<_, kube::Error>((job_finished || pod_stopped).then_some(job_finished))
    };
    match tokio::time::timeout(READ_TIMEOUT, found).await {
        Ok(Ok(job_finished)) => job_finished,
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
async fn has_reason(access: &Access, fields: &str, reasons: &[&str]) -> Result<bool, kube::Error> {
    // existing events come first; nothing marks the last of them, so the watch ends after a time
    let parameters = WatchParams::default()
        .fields(fields)
        .timeout(EXISTING_EVENTS_SECONDS);
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

/// Whether pod creation was denied because the pod has no limits, by the messages of Kubernetes' quotas (ResourceQuota
/// with `limits.cpu` or `limits.memory`) and limit ranges (LimitRange of type Pod, or with a ratio).
pub(super) fn demands_limits(message: &str) -> bool {
    message.contains("must specify limits.")
        || message.contains("; limits.") && message.contains("must specify ")
        || message.contains("No limit is specified")
        || message.contains("no limit is specified")
}

/// Whether pod creation was denied by Pod Security admission.
pub(super) fn violates_pod_security(message: &str) -> bool {
    message.contains("violates PodSecurity")
}

/// Whether pod creation was denied by another policy, which may be about the pod's rights: OpenShift's security context
/// constraints, an admission webhook (Kyverno, Gatekeeper), or a ValidatingAdmissionPolicy.
pub(super) fn is_denied_by_policy(message: &str) -> bool {
    [
        "security context constraint",
        "admission webhook",
        "ValidatingAdmissionPolicy",
    ]
    .iter()
    .any(|policy| message.contains(policy))
}

fn events(access: &Access) -> Api<Event> {
    Api::namespaced(access.client.clone(), &access.namespace)
}

/// The field selector of events about a Job. It is by UID, since another Job may have had the name, and anyone who may
/// write events can write one with the name of a Job before the Job exists.
fn job_selector(job_uid: &str) -> String {
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
        assert_eq!(
            job_selector("b9a6"),
            "involvedObject.kind=Job,involvedObject.uid=b9a6"
        );
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
        for (job_events, pod_events, expected) in [
            (events(&["SuccessfulCreate", "Completed"]), stopped(), Some(true)),
            (events(&["BackoffLimitExceeded"]), stopped(), Some(true)),
            (events(&["SuccessfulCreate"]), stopped(), Some(false)),
            (events(&[]), stopped(), Some(false)),
            // without an event about the pod, one about the Job may be missing, too
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
                true => pod_events.clone(),
                false => job_events.clone(),
            });
            assert_eq!(job_finished(&api.access(), "b9a6", "pod-uid").await, expected);
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
