//! Keeps a resource version from which the API server can report how the agent's pod ended, also when it is gone.
//!
//! The API server keeps the changes of the last minutes only: it answers a watch from an older version with 410 Gone.
//! So while the agent runs, the relay keeps a watch of its pod open, in which bookmarks carry newer versions about once
//! a minute (<https://kubernetes.io/docs/reference/using-api/api-concepts/#watch-bookmarks>). A bookmark is a line of
//! some 140 bytes. The version of the pod itself does not serve: it stays the same for as long as the pod does not
//! change.

use super::access::{self, Access};
use super::pod_end::{by_name, has_ended, is_same, pods};
use super::pod_startup::RunningPod;
use super::pod_state;
use crate::log;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, WatchEvent};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long any API server keeps changes. Most sessions are over before they need a watch.
pub(super) const KEPT_AT_LEAST: Duration = Duration::from_secs(30);

/// Time limit for a watch. The API server ends one a little earlier; one that lasts longer has lost its connection.
const WATCH_TIMEOUT: Duration = Duration::from_secs(300);

/// The first pause before another watch after one that ended at once; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause before another watch: no longer than [`KEPT_AT_LEAST`].
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// The outcome of a watch.
enum Watched {
    /// The pod still runs, as far as the API server has reported.
    Running,
    /// The API server does not keep the requested version any more.
    Expired,
    /// The pod has ended, or is terminating: the changes after the kept version show how.
    Ended,
}

/// Keeps [`RunningPod::version`] within the versions that the API server keeps, until the pod's end.
pub(super) async fn refresh(access: Access, pod: RunningPod) {
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let watched = match timeout(WATCH_TIMEOUT, watch(&access, &pod)).await {
            Ok(Ok(Watched::Expired)) => match timeout(MAX_PAUSE, list(&access, &pod)).await {
                Ok(listed) => listed,
                Err(_) => Ok(Watched::Running),
            },
            Ok(watched) => watched,
            Err(_) => Ok(Watched::Running),
        };
        match watched {
            Ok(Watched::Ended) => return,
            Ok(Watched::Running | Watched::Expired) => {}
            // a credential plug-in may open a browser, which a background request must not do
            Err(error) if access::is_credential_error(&error) => {
                return log::info!("no longer watching pod {}: {error}", pod.name);
            }
            Err(error) => log::debug!("cannot watch pod {}: {error}", pod.name),
        }
        pause = match started.elapsed() > MAX_PAUSE {
            true => FIRST_PAUSE,
            false => MAX_PAUSE.min(pause * 2),
        };
        sleep(pause).await;
    }
}

/// Watches the pod from the kept version, and stores each newer one.
async fn watch(access: &Access, pod: &RunningPod) -> Result<Watched, kube::Error> {
    let version = pod.version.borrow().clone();
    let stream = match pods(access).watch(&by_name(pod), &version).await {
        Err(kube::Error::Api(status)) if status.code == 410 => return Ok(Watched::Expired),
        stream => stream?,
    };
    futures::pin_mut!(stream);
    while let Some(event) = stream.try_next().await? {
        let newer = match event {
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
            WatchEvent::Added(found) | WatchEvent::Modified(found) if is_running(&found, pod) => {
                found.metadata.resource_version
            }
            WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_) => {
                return Ok(Watched::Ended);
            }
            WatchEvent::Error(status) if status.code == 410 => return Ok(Watched::Expired),
            WatchEvent::Error(_) => return Ok(Watched::Running),
        };
        if let Some(newer) = newer {
            pod.version.replace(newer);
        }
    }
    Ok(Watched::Running)
}

/// Stores the version of a list of this pod if it still runs.
async fn list(access: &Access, pod: &RunningPod) -> Result<Watched, kube::Error> {
    let parameters = ListParams::default().fields(&format!("metadata.name={}", pod.name));
    let found = pods(access).list(&parameters).await?;
    if !found.items.iter().any(|item| is_running(item, pod)) {
        return Ok(Watched::Ended);
    }
    if let Some(newer) = found.metadata.resource_version {
        pod.version.replace(newer);
    }
    Ok(Watched::Running)
}

/// Whether this is the pod, and it neither has ended nor is terminating.
fn is_running(found: &Pod, pod: &RunningPod) -> bool {
    is_same(found, pod) && !has_ended(found) && pod_state::deleted_at(found).is_none()
}

#[cfg(test)]
mod tests {
    use super::super::fake_api::{self, Answer};
    use super::*;
    use serde_json::{Value, json};
    use std::rc::Rc;

    fn pod_of(version: &str) -> RunningPod {
        RunningPod {
            name: "agent-x".to_owned(),
            uid: "ours".to_owned(),
            image_id: String::new(),
            addresses: Vec::new(),
            spec: Rc::default(),
            version: Rc::new(version.to_owned().into()),
        }
    }

    fn object(version: &str, deleted: Option<&str>) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "agent-x", "uid": "ours", "resourceVersion": version, "deletionTimestamp": deleted,
            },
            "status": { "phase": "Running" },
        })
    }

    fn bookmark(version: &str) -> Value {
        json!({ "type": "BOOKMARK", "object": {
            "apiVersion": "v1", "kind": "Pod", "metadata": { "resourceVersion": version },
        } })
    }

    fn expired() -> Value {
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "too old resource version", "reason": "Expired", "code": 410 })
    }

    /// The version kept after these answers, starting from version 5, and the versions that were requested.
    async fn refreshed(answers: Vec<Answer>) -> (String, Vec<String>) {
        let pod = pod_of("5");
        let api = fake_api::answering(answers);
        let refreshing = refresh(api.access(), pod.clone());
        timeout(Duration::from_secs(3600), refreshing).await.unwrap();
        let version = pod.version.borrow().clone();
        let requested = api.asked().into_iter();
        let requested = requested.map(|query| {
            let version = query
                .split('&')
                .find_map(|part| part.strip_prefix("resourceVersion="));
            version.unwrap_or("(a list)").to_owned()
        });
        (version, requested.collect())
    }

    #[tokio::test(start_paused = true)]
    async fn resource_version_follows_bookmarks_until_the_pod_is_deleted() {
        let modified = |version, deleted| json!({ "type": "MODIFIED", "object": object(version, deleted) });
        let (version, requested) = refreshed(vec![
            Answer::events([bookmark("90"), modified("95", None)]),
            // a watch that ends without an event
            Answer::events([]),
            Answer::events([bookmark("200")]),
            Answer::events([modified("300", Some("2026-01-01T00:00:00Z")), bookmark("400")]),
        ])
        .await;
        assert_eq!(
            (version.as_str(), requested),
            (
                "200",
                vec!["5", "95", "95", "200"]
                    .into_iter()
                    .map(str::to_owned)
                    .collect()
            )
        );
    }

    #[tokio::test(start_paused = true)]
    async fn expired_resource_version_is_replaced_by_that_of_a_list() {
        for answer in [
            Answer::events([json!({ "type": "ERROR", "object": expired() })]),
            Answer::refusal(410, expired()),
        ] {
            let list = json!({
                "apiVersion": "v1", "kind": "PodList", "metadata": { "resourceVersion": "1000" },
                "items": [object("5", None)],
            });
            let deleted =
                json!({ "type": "DELETED", "object": object("1001", Some("2026-01-01T00:00:00Z")) });
            let answers = vec![answer, Answer::object(list), Answer::events([deleted])];
            let (version, requested) = refreshed(answers).await;
            assert_eq!(version, "1000");
            assert_eq!(requested, ["5", "(a list)", "1000"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn resource_version_watches_that_end_at_once_are_reopened_twice_a_minute() {
        let api = fake_api::always(Answer::events([]));
        let refreshing = refresh(api.access(), pod_of("5"));
        let asked = api.asked_within(Duration::from_secs(3600), refreshing).await;
        assert!(
            api.asked()[0].contains("allowWatchBookmarks=true"),
            "{:?}",
            api.asked()
        );
        assert!((100..=140).contains(&asked), "{asked}");
    }
}
