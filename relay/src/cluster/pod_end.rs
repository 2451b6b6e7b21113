//! How the agent's pod ended.
//!
//! The cluster tells it late: a kubelet looks after its containers once a second and reports after that. So whoever
//! found a pod silent waits a moment for the news before he blames the way to it. And the pod may be gone when
//! somebody looks: the API server remembers for some minutes what became of it, version by version.

use super::access::Access;
use super::pod_watch::{self, RunningPod};
use super::{pace, pod_state};
use crate::log;
use crate::report::Failure;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, WatchEvent, WatchParams};
use std::time::Duration;
use tokio::time::timeout;

/// How long the API server may take to tell what it knows.
const ANSWER_PATIENCE: Duration = Duration::from_secs(3);

/// How long after a pod was found silent the news of its end may come.
const NEWS_PATIENCE: Duration = Duration::from_secs(3);

/// What became of a pod.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// It ran to an end, which says why.
    Ended(Failure),
    /// It is on its way out, or gone.
    Deleted,
}

/// Waits for the news that the pod has ended by itself.
pub(super) async fn ended(access: &Access, pod: &RunningPod) -> Failure {
    let mut pace = pace::of_watches();
    loop {
        pace.tick().await;
        match told(access, pod).await {
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

/// What became of a pod whose agent was not reached; none if it still runs as far as the cluster can tell. `wait` is for
/// failures that its end would explain.
pub(super) async fn found(access: &Access, pod: &RunningPod, wait: bool) -> Option<End> {
    let seen = timeout(ANSWER_PATIENCE, look(access, pod)).await;
    let version = match seen {
        Ok(Ok(Ok(end))) => return Some(end),
        Ok(Ok(Err(version))) if wait => version,
        _ => return None,
    };
    let news = timeout(NEWS_PATIENCE, follow(access, pod, &version)).await;
    news.ok()?.ok()?
}

async fn told(access: &Access, pod: &RunningPod) -> Result<Option<End>, kube::Error> {
    match look(access, pod).await? {
        Ok(end) => Ok(Some(end)),
        Err(version) => follow(access, pod, &version).await,
    }
}

/// What became of the pod, or the version in which it still runs.
async fn look(access: &Access, pod: &RunningPod) -> Result<Result<End, String>, kube::Error> {
    let found = pods(access).get_opt(&pod.name).await?;
    Ok(match found.filter(|found| is(found, pod)) {
        None => Ok(End::Deleted),
        Some(found) => match end(access, &found) {
            Some(end) => Ok(end),
            None => Err(found.metadata.resource_version.unwrap_or_default()),
        },
    })
}

/// What becomes of the pod after that version; none if the watch ends before.
async fn follow(access: &Access, pod: &RunningPod, version: &str) -> Result<Option<End>, kube::Error> {
    first(access, pod, version, |found, is_gone| match is_gone {
        true => Some(End::Deleted),
        false => end(access, found),
    })
    .await
}

/// The first thing that is to be said of the pod's versions after that one, the last of which may be the one in which it is
/// gone. None if the watch ends before, or the API server no longer remembers that version.
async fn first<T>(
    access: &Access,
    pod: &RunningPod,
    version: &str,
    mut said: impl FnMut(&Pod, bool) -> Option<T>,
) -> Result<Option<T>, kube::Error> {
    let stream = pods(access).watch(&of_name(pod), version).await?;
    futures::pin_mut!(stream);
    while let Some(event) = stream.try_next().await? {
        let (found, is_gone) = match event {
            WatchEvent::Added(found) | WatchEvent::Modified(found) => (found, false),
            WatchEvent::Deleted(found) => (found, true),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(_) => return Ok(None),
        };
        if is(&found, pod)
            && let Some(said) = said(&found, is_gone)
        {
            return Ok(Some(said));
        }
    }
    Ok(None)
}

/// When, by the API server's clock in seconds, a pod that is gone was deleted while its agent still ran. None if it ended
/// by itself, and is removed later, with its Job; or if the API server remembers no more.
pub(super) async fn deleted_alive_at(access: &Access, pod: &RunningPod) -> Option<i64> {
    match timeout(ANSWER_PATIENCE, remembered(access, pod)).await {
        Ok(Ok(at)) => at,
        Ok(Err(error)) => {
            log::info!("what became of pod {} is not known: {error}", pod.name);
            None
        }
        Err(_) => None,
    }
}

/// Follows the pod from where it was seen to run to its end.
async fn remembered(access: &Access, pod: &RunningPod) -> Result<Option<i64>, kube::Error> {
    let version = pod.version.borrow().clone();
    let deleted_at = first(access, pod, &version, |found, _| match has_ended(found) {
        true => Some(None),
        false => pod_state::deleted_at(found).map(Some),
    });
    Ok(deleted_at.await?.flatten())
}

pub(super) fn pods(access: &Access) -> Api<Pod> {
    Api::namespaced(access.client.clone(), &access.namespace)
}

pub(super) fn of_name(pod: &RunningPod) -> WatchParams {
    WatchParams::default().fields(&format!("metadata.name={}", pod.name))
}

pub(super) fn is(found: &Pod, pod: &RunningPod) -> bool {
    found.metadata.uid.as_deref() == Some(&pod.uid)
}

fn end(access: &Access, found: &Pod) -> Option<End> {
    let ended = pod_watch::ended(access, found).map(End::Ended);
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
        // a look and a watch each time
        assert!((80..=102).contains(&asked), "{asked}");
    }
}
