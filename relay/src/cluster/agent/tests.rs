//! Starts of an agent that fail and are repeated with another Job, and the deadline of an agent's Job.

use super::*;
use crate::cluster::carried::tests::agents;
use crate::cluster::fake_api::{Answer, FakeApi};
use crate::cluster::job::HOLD_SECONDS;
use http::Method;
use kinject_protocol::workload::WorkloadRequest;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::LocalSet;

/// A namespace in which every Job has one pod, with this status. Every ConfigMap is missing when it is read, as if
/// another user had removed it.
#[derive(Clone)]
struct Namespace {
    status: Value,
    /// An image, and the status of pods that run it.
    other_image: Option<(&'static str, Value)>,
    /// The other pods that run in the namespace.
    running: Value,
    /// The Deployment that the session's programs stand in for, if any.
    deployment: Value,
    /// What admits only some pods, if anything.
    policy: Option<Policy>,
    /// The answer to the question whether the user may patch Jobs; none if the cluster does not say.
    may_patch_jobs: Option<bool>,
    /// Whether that question is never answered.
    is_review_silent: bool,
    /// Whether patches of Jobs are refused all the same.
    refuses_patches: bool,
    jobs: Arc<Mutex<Vec<Value>>>,
    /// The patches of Jobs.
    patches: Arc<Mutex<Vec<Value>>>,
}

impl Namespace {
    fn of_pods(status: Value) -> Self {
        Self {
            status,
            other_image: None,
            running: json!([]),
            deployment: Value::Null,
            policy: None,
            may_patch_jobs: None,
            is_review_silent: false,
            refuses_patches: false,
            jobs: Arc::default(),
            patches: Arc::default(),
        }
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> Answer {
        let missing = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "it does not exist", "reason": "NotFound", "code": 404 });
        let mut given: Value = serde_json::from_slice(body).unwrap_or_default();
        if path.contains("/selfsubjectaccessreviews") {
            if self.is_review_silent {
                return Answer::never();
            }
            given["status"] = match self.may_patch_jobs {
                Some(allowed) => json!({ "allowed": allowed }),
                None => Value::Null,
            };
            return Answer::object(given);
        }
        if method == Method::PATCH && path.contains("/jobs/") {
            self.patches.lock().push(given);
            if self.refuses_patches {
                let refusal = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "no patches today", "reason": "Forbidden", "code": 403 });
                return Answer::refusal(403, refusal);
            }
            return Answer::object(json!({ "metadata": { "name": "a", "uid": "b9a6" } }));
        }
        if method == Method::POST {
            given["metadata"]["uid"] = json!("b9a6");
            if path.contains("/jobs") {
                self.jobs.lock().push(given.clone());
            }
            return Answer::object(given);
        }
        if path.contains("/deployments/") {
            return Answer::object(self.deployment.clone());
        }
        if path.contains("watch=true") {
            return match self.refusal().filter(|_| path.contains("FailedCreate")) {
                Some(words) => Answer::events([refusal_event(words)]),
                None => Answer::events([]),
            };
        }
        if path.contains("/pods?") {
            let is_ours = path.contains("job-name");
            let pods = match is_ours {
                true if self.refusal().is_some() => json!([]),
                true => json!([self.pod()]),
                false => self.running.clone(),
            };
            return Answer::object(json!({
                "apiVersion": "v1", "kind": "PodList", "metadata": { "resourceVersion": "5" }, "items": pods,
            }));
        }
        match path.contains("/jobs/") {
            true => Answer::object(json!({ "metadata": { "name": "a", "uid": "b9a6" } })),
            false => Answer::refusal(404, missing),
        }
    }

    /// Why the pod of the Job that was created last is not admitted, if it is not.
    fn refusal(&self) -> Option<&'static str> {
        let policy = self.policy?;
        let jobs = self.jobs.lock();
        (!(policy.admits)(jobs.last()?)).then_some(policy.refusal)
    }

    /// The pod of the Job that was created last.
    fn pod(&self) -> Value {
        let jobs = self.jobs.lock();
        let job = jobs.last().unwrap();
        let image = &job["spec"]["template"]["spec"]["containers"][0]["image"];
        let status = match &self.other_image {
            Some((other, status)) if image == other => status,
            _ => &self.status,
        };
        json!({
            "metadata": {
                "name": "kinject-agent-0-x", "uid": format!("pod {}", jobs.len()),
                "annotations": { "kinject/agent": "one" },
                "ownerReferences": [{ "apiVersion": "batch/v1", "kind": "Job", "name": "a", "uid": "b9a6",
                    "controller": true }],
            },
            "status": status,
        })
    }

    /// The failure to start a carried agent there, and for each Job what `of_job` extracts from it.
    async fn failure<T>(&self, of_job: impl Fn(&Value) -> T) -> (Failure, Vec<T>) {
        let (_programs, agents) = agents();
        self.failure_with(AgentSource::Carried(agents), of_job).await
    }

    /// The same with an agent from this source.
    async fn failure_with<T>(&self, source: AgentSource, of_job: impl Fn(&Value) -> T) -> (Failure, Vec<T>) {
        let answering = self.clone();
        let api = FakeApi::of_requests(move |method, path, body| answering.answer(method, path, body));
        let (events, _launcher) = mpsc::channel(100);
        let target = KubernetesTarget {
            workload: (!self.deployment.is_null()).then(|| WorkloadRequest {
                workload: "deploy/web".parse().unwrap(),
                container: None,
                files: true,
                remote_paths: Vec::new(),
                local_paths: Vec::new(),
                exec_environment: false,
            }),
            ..KubernetesTarget::default()
        };
        let agent = ClusterAgent::with_source(api.access(), "0", &target, source, events);
        let failure = LocalSet::new().run_until(agent.open()).await.err().unwrap();
        (failure, self.jobs.lock().iter().map(of_job).collect())
    }
}

fn running() -> Value {
    json!({
        "phase": "Running", "podIP": "10.0.0.1",
        "containerStatuses": [{
            "name": "agent", "image": "x:1", "imageID": "", "ready": true, "restartCount": 0,
            "state": { "running": {} },
        }],
    })
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({ "containerStatuses": [{
        "name": "agent", "image": "x:1", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "waiting": { "reason": reason, "message": message } },
    }] })
}

/// What admits the pods of some Jobs.
#[derive(Clone, Copy)]
struct Policy {
    admits: fn(&Value) -> bool,
    /// What it says of other pods.
    refusal: &'static str,
}

/// Pod Security, which admits only pods with the agent's own user.
const RESTRICTED: Policy = Policy {
    admits: |job| user(job) == 65532,
    refusal: "violates PodSecurity \"restricted:latest\": runAsUser=0",
};

/// The event about a pod that is not admitted.
fn refusal_event(words: &str) -> Value {
    json!({ "type": "ADDED", "object": {
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": "a" }, "involvedObject": {},
        "reason": "FailedCreate",
        "message": format!("pods \"a\" is forbidden: {words}"),
    } })
}

/// A Deployment in this image, with this pod security context.
fn deployment(image: &str, context: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": { "spec": {
                "securityContext": context,
                "containers": [{ "name": "app", "image": image }],
                "nodeSelector": { "kubernetes.io/arch": "arm64" },
            } },
        },
    })
}

fn user(job: &Value) -> Value {
    job["spec"]["template"]["spec"]["securityContext"]["runAsUser"].clone()
}

fn architecture(job: &Value) -> String {
    let selector = &job["spec"]["template"]["spec"]["nodeSelector"];
    selector["kubernetes.io/arch"].as_str().unwrap().to_owned()
}

fn image(job: &Value) -> String {
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    container["image"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn cluster_without_nodes_of_either_architecture_fails_after_both_were_tried() {
    let message = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
    let status = json!({ "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
    }] });
    let (failure, mut tried) = Namespace::of_pods(status).failure(architecture).await;
    tried.sort();
    assert_eq!(tried, ["amd64", "arm64"]);
    assert!(failure.message.contains(message), "{}", failure.message);
    let hint = failure.hint.unwrap();
    assert!(hint.contains("amd64") && hint.contains("--agent-image"), "{hint}");
}

#[tokio::test(start_paused = true)]
async fn cluster_whose_nodes_are_full_is_tried_with_one_architecture() {
    let message =
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector.";
    let status = json!({ "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
    }] });
    let (failure, tried) = Namespace::of_pods(status).failure(architecture).await;
    assert_eq!(tried.len(), 1, "{tried:?}");
    assert!(
        failure.message.contains("Insufficient cpu"),
        "{}",
        failure.message
    );
}

#[tokio::test(start_paused = true)]
async fn image_that_the_node_cannot_pull_is_replaced_by_the_next() {
    let mut namespace = Namespace::of_pods(waiting("ErrImagePull", "unauthorized"));
    let pause = "registry.k8s.io/pause:3.10";
    namespace.other_image = Some((pause, waiting("CreateContainerError", "the last one")));
    namespace.running = json!([{
        "metadata": { "name": "app" },
        "spec": { "nodeName": "one", "containers": [{ "name": "main", "image": "private:1" }] },
        "status": { "containerStatuses": [{
            "name": "main", "image": "private:1", "imageID": "", "ready": true, "restartCount": 0,
            "state": { "running": {} },
        }] },
    }]);
    let (failure, tried) = namespace.failure(image).await;
    assert_eq!(tried, ["private:1", pause]);
    assert!(failure.message.contains("the last one"), "{}", failure.message);
}

#[tokio::test(start_paused = true)]
async fn agent_whose_config_map_was_removed_is_started_again_once_from_private_ones() {
    let maps = |job: &Value| {
        let volumes = job["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
        let files = volumes.iter().find(|volume| volume["name"] == "files").unwrap();
        files["projected"]["sources"].to_string()
    };
    let (failure, made) = Namespace::of_pods(running()).failure(maps).await;
    let [first, second] = &made[..] else {
        panic!("{made:?}");
    };
    assert_ne!(first, second);
    assert!(
        failure.lasting && failure.message.contains("was removed while the agent started"),
        "{}",
        failure.message
    );
}

#[tokio::test(start_paused = true)]
async fn workloads_image_that_no_node_gets_is_replaced_by_the_pause_image_and_no_other() {
    let mut namespace = Namespace::of_pods(waiting("ErrImagePull", "unauthorized"));
    let pause = "registry.k8s.io/pause:3.10";
    namespace.other_image = Some((pause, waiting("CreateContainerError", "the last one")));
    namespace.deployment = deployment("private:1", &json!({}));
    namespace.running = json!([{
        "metadata": { "name": "other" },
        "spec": { "nodeName": "one", "containers": [{ "name": "main", "image": "other:1" }] },
        "status": { "containerStatuses": [{
            "name": "main", "image": "other:1", "imageID": "", "ready": true, "restartCount": 0,
            "state": { "running": {} },
        }] },
    }]);
    let (failure, tried) = namespace.failure(|job| (image(job), architecture(job))).await;
    let arm = |image: &str| (image.to_owned(), "arm64".to_owned());
    assert_eq!(tried, [arm("private:1"), arm(pause)]);
    assert!(failure.message.contains("the last one"), "{}", failure.message);
}

fn pull(job: &Value) -> (String, Value) {
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    (image(job), container["imagePullPolicy"].clone())
}

#[tokio::test(start_paused = true)]
async fn workloads_image_that_is_always_pulled_is_the_nodes_own_where_it_cannot_be_pulled() {
    let mut namespace = Namespace::of_pods(waiting("ErrImagePull", "no such host"));
    namespace.deployment = deployment("app:1", &json!({}));
    namespace.deployment["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    let (_failure, tried) = namespace.failure(pull).await;
    let expected = [
        ("app:1", "Always"),
        ("app:1", "IfNotPresent"),
        ("registry.k8s.io/pause:3.10", "IfNotPresent"),
    ];
    assert_eq!(
        tried,
        expected.map(|(image, policy)| (image.to_owned(), json!(policy)))
    );
}

#[tokio::test(start_paused = true)]
async fn digest_that_the_workloads_pods_run_is_tried_before_its_tag_without_asking_the_registry() {
    let mut namespace = Namespace::of_pods(waiting("ErrImagePull", "not found"));
    namespace.deployment = deployment("app:1", &json!({}));
    namespace.deployment["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    let digest = format!("app@sha256:{}", "ab".repeat(32));
    namespace.running = json!([{
        "metadata": { "name": "web-0" },
        "spec": { "nodeName": "one", "containers": [{ "name": "app", "image": "app:1" }] },
        "status": { "containerStatuses": [{
            "name": "app", "image": "app:1", "imageID": format!("docker.io/library/{digest}"), "ready": true,
            "restartCount": 0, "state": { "running": {} },
        }] },
    }]);
    let (_failure, tried) = namespace.failure(pull).await;
    let expected = [digest.as_str(), "app:1", "registry.k8s.io/pause:3.10"];
    assert_eq!(
        tried,
        expected.map(|image| (image.to_owned(), json!("IfNotPresent")))
    );
}

#[tokio::test(start_paused = true)]
async fn workload_whose_capability_a_policy_refuses_gets_an_agent_without_it() {
    let added = |job: &Value| {
        job["spec"]["template"]["spec"]["containers"][0]["securityContext"]["capabilities"]["add"].clone()
    };
    let mut namespace = Namespace::of_pods(waiting("CreateContainerError", "the last one"));
    namespace.deployment = deployment("app:1", &json!({}));
    namespace.policy = Some(Policy {
        admits: |job| {
            let container = &job["spec"]["template"]["spec"]["containers"][0];
            container["securityContext"]["capabilities"]["add"].is_null()
        },
        refusal: "unable to validate against any security context constraint: capabilities.add: DAC_OVERRIDE",
    });
    let (failure, tried) = namespace.failure(|job| (added(job), user(job))).await;
    assert_eq!(
        tried,
        [(json!(["DAC_OVERRIDE"]), Value::Null), (Value::Null, Value::Null)]
    );
    assert!(failure.message.contains("the last one"), "{}", failure.message);
}

#[tokio::test(start_paused = true)]
async fn workload_whose_user_pod_security_refuses_gets_an_agent_with_its_own_user() {
    let mut namespace = Namespace::of_pods(waiting("CreateContainerError", "the last one"));
    namespace.deployment = deployment("app:1", &json!({ "runAsUser": 0 }));
    namespace.policy = Some(RESTRICTED);
    let (failure, tried) = namespace.failure(user).await;
    assert_eq!(tried, [json!(0), json!(65532)]);
    assert!(failure.message.contains("the last one"), "{}", failure.message);
}

/// An image of kinject-agent.
fn agent_image() -> AgentSource {
    let target = KubernetesTarget {
        agent_image: Some("kinject-agent:1".to_owned()),
        ..KubernetesTarget::default()
    };
    AgentSource::of(&target).unwrap()
}

fn deadline(job: &Value) -> Value {
    job["spec"]["activeDeadlineSeconds"].clone()
}

/// The relay may die before it has made the Secret that the pod waits for.
#[tokio::test(start_paused = true)]
async fn job_of_an_agent_image_has_a_deadline_until_its_pod_runs() {
    for status in [waiting("ErrImagePull", "unauthorized"), running()] {
        let mut namespace = Namespace::of_pods(status.clone());
        namespace.may_patch_jobs = Some(true);
        let (_, deadlines) = namespace.failure_with(agent_image(), deadline).await;
        assert_eq!(deadlines, [json!(HOLD_SECONDS)]);
        let lifted = json!({ "metadata": { "uid": "b9a6" }, "spec": { "activeDeadlineSeconds": null } });
        let expected = if status == running() { vec![lifted] } else { vec![] };
        assert_eq!(*namespace.patches.lock(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn user_without_the_right_to_patch_jobs_gets_an_agent_image_without_a_deadline() {
    for answer in [Some(false), None] {
        let mut namespace = Namespace::of_pods(running());
        namespace.may_patch_jobs = answer;
        let (_, deadlines) = namespace.failure_with(agent_image(), deadline).await;
        assert_eq!(deadlines, [Value::Null], "{answer:?}");
        assert!(namespace.patches.lock().is_empty(), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn deadline_that_the_cluster_does_not_lift_is_left_out_of_the_next_job() {
    let mut namespace = Namespace::of_pods(running());
    namespace.may_patch_jobs = Some(true);
    namespace.refuses_patches = true;
    let (failure, deadlines) = namespace.failure_with(agent_image(), deadline).await;
    assert_eq!(deadlines, [json!(HOLD_SECONDS), Value::Null]);
    assert!(
        !failure.message.contains("no patches today"),
        "{}",
        failure.message
    );
}

/// The answer takes its time limit once, and not for each agent of the session.
#[tokio::test(start_paused = true)]
async fn review_without_an_answer_is_not_asked_for_again_by_the_next_agent() {
    let mut namespace = Namespace::of_pods(waiting("ErrImagePull", "unauthorized"));
    namespace.is_review_silent = true;
    let answering = namespace.clone();
    let api = FakeApi::of_requests(move |method, path, body| answering.answer(method, path, body));
    let (events, _launcher) = mpsc::channel(100);
    let target = KubernetesTarget::default();
    let agent = ClusterAgent::with_source(api.access(), "0", &target, agent_image(), events);
    let opened_twice = async {
        for _ in 0..2 {
            assert!(agent.open().await.is_err());
        }
    };
    LocalSet::new().run_until(opened_twice).await;
    let deadlines: Vec<_> = namespace.jobs.lock().iter().map(deadline).collect();
    assert_eq!(deadlines, [Value::Null, Value::Null]);
    let asked = api.asked();
    let reviews = asked
        .iter()
        .filter(|path| path.contains("/selfsubjectaccessreviews"));
    assert_eq!(reviews.count(), 1, "{asked:?}");
}
