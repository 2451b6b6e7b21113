use super::super::fake_api::{Answer, FakeApi};
use super::*;
use serde_json::{Value, json};

fn job() -> AgentJob {
    AgentJob {
        name: "kinject-agent-0".to_owned(),
        uid: "b9a6".to_owned(),
    }
}

/// The pod of a carried agent's Job, with this status.
fn pod(status: &Value) -> Value {
    json!({
        "metadata": {
            "name": "kinject-agent-0-x", "uid": "pod", "annotations": { "kinject/agent": "one" },
            "ownerReferences": [{ "apiVersion": "batch/v1", "kind": "Job", "name": "kinject-agent-0", "uid": "b9a6",
                "controller": true }],
        },
        "status": status,
    })
}

/// An API server that has these pods and no events, and whose watches end at once.
fn api_with(pods: &[Value]) -> FakeApi {
    let list = json!({
        "apiVersion": "v1", "kind": "PodList", "metadata": { "resourceVersion": "5" }, "items": pods,
    });
    FakeApi::new(move |path| match path.contains("watch=true") {
        true => Answer::events([]),
        false => Answer::object(list.clone()),
    })
}

async fn failure(status: &Value) -> StartFailure {
    let api = api_with(&[pod(status)]);
    let (access, job) = (api.access(), job());
    let running = running_pod(&access, &job, true, None, std::future::ready(()), |_| {});
    running.await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn job_pod_watches_that_end_at_once_are_reopened_at_most_five_times_a_second() {
    let api = api_with(&[]);
    let (access, job, pending) = (api.access(), job(), Pending::default());
    let mut progress = |_: &str| {};
    let following = follow_pod(&access, &job, &pending, &mut progress);
    let asked = api.asked_within(Duration::from_secs(10), following).await;
    // a list and a watch each time
    assert!((80..=102).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn pod_that_stays_unschedulable_fails_though_every_watch_ends_at_once() {
    let begun = Instant::now();
    let status = json!({ "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node",
    }] });
    let failure = Failure::from(failure(&status).await);
    assert!(begun.elapsed() >= UNSCHEDULABLE_TIMEOUT);
    assert!(failure.message.contains("no node"), "{}", failure.message);
}

#[tokio::test(start_paused = true)]
async fn start_timeout_begins_when_everything_exists_that_the_pod_mounts() {
    let api = api_with(&[pod(&json!({}))]);
    let (access, job) = (api.access(), job());
    let upload = Duration::from_secs(200);
    let begun = Instant::now();
    let running = running_pod(&access, &job, true, None, tokio::time::sleep(upload), |_| {});
    // the fake API server stops answering before that, so it is the time limit that ends the wait
    let ended = tokio::time::timeout(upload + 2 * START_TIMEOUT, running).await;
    let failure = Failure::from(ended.unwrap().unwrap_err());
    assert!(begun.elapsed() >= upload + START_TIMEOUT);
    assert!(
        failure.message.contains("does not run after 120 s"),
        "{}",
        failure.message
    );
}

#[tokio::test(start_paused = true)]
async fn hint_for_a_late_pod_names_host_image_only_while_its_image_is_pulled() {
    let pulling = json!({ "conditions": [
        { "type": "PodScheduled", "status": "True" }, { "type": "PodReadyToStartContainers", "status": "True" },
    ] });
    for (status, names_host_image) in [(json!({}), false), (pulling, true)] {
        let hint = Failure::from(failure(&status).await).hint.unwrap();
        assert!(hint.contains("--agent-image"), "{hint}");
        assert_eq!(hint.contains("--host-image"), names_host_image, "{hint}");
    }
}
