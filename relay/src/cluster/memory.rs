//! Sees to it that the API server can still tell what became of the agent's pod when it is gone.
//!
//! The API server remembers the changes of the last minutes alone: from a version before them nothing more is told (410
//! Gone). So while the agent runs, a watch of its pod stays open, in which bookmarks name newer versions about once a minute
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/#watch-bookmarks>). That is a line of some 140 bytes;
//! the version of the pod itself stays the same for as long as nothing about it changes.

use super::access::{self, Access};
use super::pod_end::{has_ended, is, of_name, pods};
use super::pod_state;
use super::pod_watch::RunningPod;
use crate::log;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, WatchEvent};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// For how long any API server remembers: most sessions are over before they need a watch.
pub(super) const SURELY_REMEMBERED: Duration = Duration::from_secs(30);

/// How long a watch may last. The API server ends it a little earlier; one that lasts longer has lost its connection.
const LONGEST_WATCH: Duration = Duration::from_secs(300);

/// The first pause before another watch where one ends at once; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause before another watch: shorter than what any API server remembers.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// What is known when a watch is over.
enum Watched {
    /// The pod still runs, as far as the API server has told.
    Running,
    /// The API server does not remember the version that was asked for.
    Forgotten,
    /// The pod has ended, or is on its way out: what comes after that version tells how.
    Over,
}

/// Keeps [`RunningPod::version`] within what the API server remembers, until the pod's end.
pub(super) async fn refresh(access: Access, pod: RunningPod) {
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        let watched = match timeout(LONGEST_WATCH, watch(&access, &pod)).await {
            Ok(Ok(Watched::Forgotten)) => match timeout(MAX_PAUSE, look(&access, &pod)).await {
                Ok(looked) => looked,
                Err(_) => Ok(Watched::Running),
            },
            Ok(watched) => watched,
            Err(_) => Ok(Watched::Running),
        };
        match watched {
            Ok(Watched::Over) => return,
            Ok(Watched::Running | Watched::Forgotten) => {}
            // who logs in by a browser is not to be asked to by what nobody has called for
            Err(error) if access::is_about_credentials(&error) => {
                return log::info!("no longer watching pod {}: {error}", pod.name);
            }
            Err(error) => log::debug!("cannot watch pod {}: {error}", pod.name),
        }
        pause = match begun.elapsed() > MAX_PAUSE {
            true => FIRST_PAUSE,
            false => MAX_PAUSE.min(pause * 2),
        };
        sleep(pause).await;
    }
}

/// Follows the pod from the version that is known, and takes each newer one.
async fn watch(access: &Access, pod: &RunningPod) -> Result<Watched, kube::Error> {
    let version = pod.version.borrow().clone();
    let stream = match pods(access).watch(&of_name(pod), &version).await {
        Err(kube::Error::Api(status)) if status.code == 410 => return Ok(Watched::Forgotten),
        stream => stream?,
    };
    futures::pin_mut!(stream);
    while let Some(event) = stream.try_next().await? {
        let newer = match event {
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
            WatchEvent::Added(found) | WatchEvent::Modified(found) if runs(&found, pod) => {
                found.metadata.resource_version
            }
            WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_) => {
                return Ok(Watched::Over);
            }
            WatchEvent::Error(status) if status.code == 410 => return Ok(Watched::Forgotten),
            WatchEvent::Error(_) => return Ok(Watched::Running),
        };
        if let Some(newer) = newer {
            pod.version.replace(newer);
        }
    }
    Ok(Watched::Running)
}

/// Takes the version of all pods together if this one still runs.
async fn look(access: &Access, pod: &RunningPod) -> Result<Watched, kube::Error> {
    let parameters = ListParams::default().fields(&format!("metadata.name={}", pod.name));
    let list = pods(access).list(&parameters).await?;
    if !list.items.iter().any(|found| runs(found, pod)) {
        return Ok(Watched::Over);
    }
    if let Some(newer) = list.metadata.resource_version {
        pod.version.replace(newer);
    }
    Ok(Watched::Running)
}

/// Whether this is the pod, and nothing has begun to end it.
fn runs(found: &Pod, pod: &RunningPod) -> bool {
    is(found, pod) && !has_ended(found) && pod_state::deleted_at(found).is_none()
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

    fn gone() -> Value {
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "too old resource version", "reason": "Expired", "code": 410 })
    }

    /// What becomes of version 5 when these watches are answered, one after the other, and which versions are asked for.
    async fn refreshed(answers: Vec<Answer>) -> (String, Vec<String>) {
        let pod = pod_of("5");
        let api = fake_api::answering(answers);
        let refreshing = refresh(api.access(), pod.clone());
        timeout(Duration::from_secs(3600), refreshing).await.unwrap();
        let version = pod.version.borrow().clone();
        let asked = api.asked().into_iter();
        let asked = asked.map(|query| {
            let version = query
                .split('&')
                .find_map(|part| part.strip_prefix("resourceVersion="));
            version.unwrap_or("(a list)").to_owned()
        });
        (version, asked.collect())
    }

    #[tokio::test(start_paused = true)]
    async fn resource_version_follows_bookmarks_until_the_pod_is_deleted() {
        let modified = |version, deleted| json!({ "type": "MODIFIED", "object": object(version, deleted) });
        let (version, asked) = refreshed(vec![
            Answer::events([bookmark("90"), modified("95", None)]),
            // one that ends without a word
            Answer::events([]),
            Answer::events([bookmark("200")]),
            Answer::events([modified("300", Some("2026-01-01T00:00:00Z")), bookmark("400")]),
        ])
        .await;
        assert_eq!(
            (version.as_str(), asked),
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
        for forgotten in [
            Answer::events([json!({ "type": "ERROR", "object": gone() })]),
            Answer::refusal(410, gone()),
        ] {
            let list = json!({
                "apiVersion": "v1", "kind": "PodList", "metadata": { "resourceVersion": "1000" },
                "items": [object("5", None)],
            });
            let deleted =
                json!({ "type": "DELETED", "object": object("1001", Some("2026-01-01T00:00:00Z")) });
            let answers = vec![forgotten, Answer::object(list), Answer::events([deleted])];
            let (version, asked) = refreshed(answers).await;
            assert_eq!(version, "1000");
            assert_eq!(asked, ["5", "(a list)", "1000"]);
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
