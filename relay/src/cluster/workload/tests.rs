use super::*;
use crate::cluster::fake_api::{Answer, FakeApi};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::Instant;

/// A session in the place of a Deployment whose account's rights are reviewed so.
async fn found(review: fn(Value) -> Answer) -> TargetWorkload {
    let api = FakeApi::of_requests(move |_, path, body| {
        let mut given: Value = serde_json::from_slice(body).unwrap_or_default();
        if path.contains("/selfsubjectrulesreviews") {
            return review(given);
        }
        if path.contains("/selfsubjectaccessreviews") {
            given["status"] = json!({ "allowed": true });
            return Answer::object(given);
        }
        Answer::object(match path.contains("/deployments/") {
            true => json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
                "spec": {
                    "selector": { "matchLabels": { "app": "web" } },
                    "template": { "spec": {
                        "serviceAccountName": "web", "containers": [{ "name": "app", "image": "app:1" }],
                    } },
                },
            }),
            false => json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": [] }),
        })
    });
    let target = KubernetesTarget {
        workload: Some(WorkloadRequest {
            workload: "deploy/web".parse().unwrap(),
            container: None,
            files: true,
            remote_paths: Vec::new(),
            local_paths: Vec::new(),
            exec_environment: false,
        }),
        ..KubernetesTarget::default()
    };
    let workload = TargetWorkload::of(&target, "0", true).unwrap();
    workload.find(&api.access()).await.unwrap();
    workload
}

/// Only the line of a session that is ready needs the answer.
#[tokio::test(start_paused = true)]
async fn workload_is_found_before_the_rights_of_its_account_are_known() {
    let unanswered = async {
        let begun = Instant::now();
        let workload = found(|_| Answer::never()).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        let words = workload.account_rights().unwrap();
        assert!(
            words.ends_with("cannot be seen before the cluster answers"),
            "{words}"
        );
    };
    LocalSet::new().run_until(unanswered).await;
    let answered = async {
        let workload = found(|mut review| {
            review["status"] = json!({ "resourceRules": [], "nonResourceRules": [], "incomplete": false });
            Answer::object(review)
        })
        .await;
        // the clock goes on when nothing else is left to do
        tokio::time::sleep(Duration::from_secs(1)).await;
        let words = workload.account_rights().unwrap();
        assert_eq!(words, "service account web may do no more than every account");
    };
    LocalSet::new().run_until(answered).await;
}
