//! How the agent's pod ended.
//!
//! The API server learns of it late: a kubelet checks its containers once a second and reports after that. So when an
//! agent does not answer, the relay waits a moment for a report of its pod's end before it blames the transport. And
//! the pod may be gone by the time of the request: the API server keeps its last versions for some minutes, and a watch
//! returns them.

use super::access::Access;
use super::pod_startup::{self, RunningPod};
use super::{pace, pod_state};
use crate::log;
use crate::report::Failure;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, WatchEvent, WatchParams};
use std::time::Duration;
use tokio::time::timeout;

/// Time limit for the API server's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Time limit for the report of a pod's end after its agent did not answer.
const REPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// How a pod ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// It ended by itself, for this reason.
    Ended(Failure),
    /// It is terminating, or gone.
    Deleted,
}

/// Waits until the API server reports that the pod has ended by itself.
pub(super) async fn ended(access: &Access, pod: &RunningPod) -> Failure {
    let mut pace = pace::of_watches();
    loop {
        pace.tick().await;
        match check_and_watch(access, pod).await {
            Ok(Some(End::Ended(failure))) => return failure,
            // the watch has ended, as watches do
            Ok(None) => {}
            Ok(Some(End::Deleted)) => break,
            Err(kube::Error::Api(status)) if (400..500).contains(&status.code) && status.code != 410 => {
                log::info!("cannot watch pod {}: {status}", pod.name);
                break;
            }
            Err(error) => log::info!("watching pod {} again: {error}", pod.name),
        }
    }
    std::future::pending().await
}

/// How a pod ended whose agent was not reached; none if it still runs as far as the API server knows. `wait` also waits
/// for a report: for failures that the pod's end would explain.
pub(super) async fn found(access: &Access, pod: &RunningPod, wait: bool) -> Option<End> {
    let checked = timeout(ANSWER_TIMEOUT, check(access, pod)).await;
    let version = match checked {
        Ok(Ok(Ok(end))) => return Some(end),
        Ok(Ok(Err(version))) if wait => version,
        _ => return None,
    };
    let reported = timeout(REPORT_TIMEOUT, watch(access, pod, &version)).await;
    reported.ok()?.ok()?
}

/// How the pod ended; none if the watch ends before the pod does.
async fn check_and_watch(access: &Access, pod: &RunningPod) -> Result<Option<End>, kube::Error> {
    match check(access, pod).await? {
        Ok(end) => Ok(Some(end)),
        Err(version) => watch(access, pod, &version).await,
    }
}

/// How the pod ended, or the version in which it still runs.
async fn check(access: &Access, pod: &RunningPod) -> Result<Result<End, String>, kube::Error> {
    let found = pods(access).get_opt(&pod.name).await?;
    Ok(match found.filter(|found| is_same(found, pod)) {
        None => Ok(End::Deleted),
        Some(found) => match end(access, &found) {
            Some(end) => Ok(end),
            None => Err(found.metadata.resource_version.unwrap_or_default()),
        },
    })
}

/// How the pod ends after that version; none if the watch ends before.
async fn watch(access: &Access, pod: &RunningPod, version: &str) -> Result<Option<End>, kube::Error> {
    find_version(access, pod, version, |found, is_gone| match is_gone {
        true => Some(End::Deleted),
        false => end(access, found),
    })
    .await
}

/// The first result of `select` for the pod's versions after that one; its second argument is whether the pod is gone
/// in that version. None if the watch ends before, or the API server no longer keeps that version.
async fn find_version<T>(
    access: &Access,
    pod: &RunningPod,
    version: &str,
    mut select: impl FnMut(&Pod, bool) -> Option<T>,
) -> Result<Option<T>, kube::Error> {
    let stream = pods(access).watch(&by_name(pod), version).await?;
    futures::pin_mut!(stream);
    while let Some(event) = stream.try_next().await? {
        let (found, is_gone) = match event {
            WatchEvent::Added(found) | WatchEvent::Modified(found) => (found, false),
            WatchEvent::Deleted(found) => (found, true),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(_) => return Ok(None),
        };
        if is_same(&found, pod)
            && let Some(selected) = select(&found, is_gone)
        {
            return Ok(Some(selected));
        }
    }
    Ok(None)
}

/// When, in seconds of the API server's clock, a pod that is gone was deleted while its agent still ran. None if it
/// ended by itself and was removed later, with its Job; or if the API server does not keep its versions any more.
pub(super) async fn deleted_while_running_at(access: &Access, pod: &RunningPod) -> Option<i64> {
    match timeout(ANSWER_TIMEOUT, deletion_while_running(access, pod)).await {
        Ok(Ok(at)) => at,
        Ok(Err(error)) => {
            log::info!("what became of pod {} is not known: {error}", pod.name);
            None
        }
        Err(_) => None,
    }
}

/// Watches the pod from the last version in which it ran.
async fn deletion_while_running(access: &Access, pod: &RunningPod) -> Result<Option<i64>, kube::Error> {
    let version = pod.version.borrow().clone();
    let deleted_at = find_version(access, pod, &version, |found, _| match has_ended(found) {
        true => Some(None),
        false => pod_state::deleted_at(found).map(Some),
    });
    Ok(deleted_at.await?.flatten())
}

pub(super) fn pods(access: &Access) -> Api<Pod> {
    Api::namespaced(access.client.clone(), &access.namespace)
}

pub(super) fn by_name(pod: &RunningPod) -> WatchParams {
    WatchParams::default().fields(&format!("metadata.name={}", pod.name))
}

pub(super) fn is_same(found: &Pod, pod: &RunningPod) -> bool {
    found.metadata.uid.as_deref() == Some(&pod.uid)
}

fn end(access: &Access, found: &Pod) -> Option<End> {
    let ended = pod_startup::failure(access, found).map(|failure| End::Ended(failure.into()));
    ended.or_else(|| {
        let deletion = found.metadata.deletion_timestamp.as_ref();
        deletion.map(|_| End::Deleted)
    })
}

/// Whether nothing runs in it any more.
pub(super) fn has_ended(found: &Pod) -> bool {
    let phase = found.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use super::super::fake_api::{Answer, FakeApi};
    use super::*;
    use serde_json::json;
    use std::rc::Rc;

    #[tokio::test(start_paused = true)]
    async fn pod_end_watches_that_end_at_once_are_reopened_at_most_five_times_a_second() {
        let pod = RunningPod {
            name: "agent-x".to_owned(),
            uid: "ours".to_owned(),
            image_id: String::new(),
            addresses: Vec::new(),
            spec: Rc::default(),
            version: Rc::default(),
        };
        let running = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "agent-x", "uid": "ours", "resourceVersion": "5" },
            "status": { "phase": "Running" },
        });
        let api = FakeApi::new(move |path| match path.contains("watch=true") {
            true => Answer::events([]),
            false => Answer::object(running.clone()),
        });
        let asked = api
            .asked_within(Duration::from_secs(10), ended(&api.access(), &pod))
            .await;
        // a get and a watch each time
        assert!((80..=102).contains(&asked), "{asked}");
    }
}
