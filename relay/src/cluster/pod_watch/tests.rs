use super::*;
use crate::cluster::fake_api::{Answer, FakeApi};
use serde_json::{Value, json};

#[tokio::test(start_paused = true)]
async fn job_pod_watches_that_end_at_once_are_reopened_at_most_five_times_a_second() {
    let job = AgentJob {
        name: "kinject-agent-0".to_owned(),
        uid: "b9a6".to_owned(),
    };
    let list = json!({
        "apiVersion": "v1", "kind": "PodList", "metadata": { "resourceVersion": "5" }, "items": [],
    });
    let api = FakeApi::new(move |path| match path.contains("watch=true") {
        true => Answer::events([]),
        false => Answer::object(list.clone()),
    });
    let (access, pending) = (api.access(), Pending::default());
    let mut progress = |_: &str| {};
    let following = follow_pod(&access, &job, &pending, &mut progress);
    let asked = api.asked_within(Duration::from_secs(10), following).await;
    // a list and a watch each time
    assert!((80..=102).contains(&asked), "{asked}");
}

fn job() -> AgentJob {
    AgentJob {
        name: "kinject-agent-0".to_owned(),
        uid: "b9a6".to_owned(),
    }
}

/// A carried agent's pod of that status, which belongs to the Job.
fn carried(status: &Value) -> Value {
    json!({
        "metadata": {
            "name": "kinject-agent-0-x", "uid": "pod", "annotations": { "kinject/agent": "one" },
            "ownerReferences": [{ "apiVersion": "batch/v1", "kind": "Job", "name": "kinject-agent-0", "uid": "b9a6",
                "controller": true }],
        },
        "status": status,
    })
}

/// An API server that has this pod and no events, and whose watches tell nothing.
fn api_with(pod: Value) -> FakeApi {
    let list = json!({
        "apiVersion": "v1", "kind": "PodList", "metadata": { "resourceVersion": "5" }, "items": [pod],
    });
    FakeApi::new(move |path| match path.contains("watch=true") {
        true => Answer::events([]),
        false => Answer::object(list.clone()),
    })
}

async fn why_not(status: Value) -> NotRunning {
    let api = api_with(carried(&status));
    let (access, job) = (api.access(), job());
    let running = running_pod(&access, &job, true, std::future::ready(()), |_| {});
    running.await.unwrap_err()
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({ "containerStatuses": [{
        "name": "agent", "image": "x:1", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "waiting": { "reason": reason, "message": message } },
    }] })
}

fn unschedulable(message: &str) -> Value {
    json!({ "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
    }] })
}

#[tokio::test]
async fn image_without_the_nodes_platform_is_the_wrong_architecture_by_each_runtimes_words() {
    for words in [
        "failed to pull and unpack image \"x:1\": no match for platform in manifest: not found",
        "choosing an image from manifest list docker://x:1: no image found in manifest list for architecture \"arm64\"",
        "no image found in image index for architecture \"arm64\", variant \"v8\", OS \"linux\"",
        "no matching manifest for linux/arm64/v8 in the manifest list entries",
        "image with reference x:1 was found but does not provide the specified platform (linux/arm64)",
    ] {
        let why = why_not(waiting("ErrImagePull", words)).await;
        assert!(matches!(why, NotRunning::WrongArchitecture(_)), "{why:?}");
    }
}

#[tokio::test]
async fn platform_or_labels_in_the_words_of_another_failure_are_no_wrong_architecture() {
    let why = why_not(waiting(
        "ErrImagePull",
        "node affinity/selector: connection refused",
    ))
    .await;
    assert!(matches!(why, NotRunning::NoImage(_)), "{why:?}");
    let why = why_not(waiting("CreateContainerError", "no match for platform")).await;
    assert!(matches!(why, NotRunning::Failed(_)), "{why:?}");
}

#[tokio::test(start_paused = true)]
async fn pod_that_no_node_takes_is_of_the_wrong_architecture_only_if_labels_keep_all_nodes_from_it() {
    for (message, is_architecture) in [
        (
            "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/2 nodes are \
             available: 2 Preemption is not helpful for scheduling.",
            true,
        ),
        (
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
            true,
        ),
        (
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector. \
             preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
            false,
        ),
        (
            "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated \
             taint {node.kubernetes.io/unreachable: }.",
            false,
        ),
        ("no nodes available to schedule pods", false),
    ] {
        let why = why_not(unschedulable(message)).await;
        assert_eq!(
            matches!(why, NotRunning::WrongArchitecture(_)),
            is_architecture,
            "{message}: {why:?}"
        );
        let hint = Failure::from(why).hint.unwrap();
        assert!(!hint.contains("--host-image"), "{hint}");
    }
}

#[tokio::test(start_paused = true)]
async fn patience_with_a_pod_begins_when_everything_is_there_that_it_mounts() {
    let api = api_with(carried(&json!({})));
    let (access, job) = (api.access(), job());
    let sending = Duration::from_secs(200);
    let begun = Instant::now();
    let running = running_pod(&access, &job, true, tokio::time::sleep(sending), |_| {});
    // each watch ends at once here, and a thousand answers are less than this takes
    let ended = tokio::time::timeout(sending + 2 * PATIENCE, running).await;
    let failure = Failure::from(ended.unwrap().unwrap_err());
    assert!(begun.elapsed() >= sending + PATIENCE);
    assert!(
        failure.message.contains("does not run after 120 s"),
        "{}",
        failure.message
    );
}

#[tokio::test(start_paused = true)]
async fn pod_that_does_not_run_names_the_agent_image_and_the_host_image_while_that_is_pulled() {
    let pulling = json!({ "conditions": [
        { "type": "PodScheduled", "status": "True" }, { "type": "PodReadyToStartContainers", "status": "True" },
    ] });
    for (status, names_host_image) in [(json!({}), false), (pulling, true)] {
        let hint = Failure::from(why_not(status).await).hint.unwrap();
        assert!(hint.contains("--agent-image"), "{hint}");
        assert_eq!(hint.contains("--host-image"), names_host_image, "{hint}");
    }
}
