//! Sessions whose pod cannot be scheduled, on the real cluster: their messages, and attempts to impersonate the agent.
//!
//! A test executable of its own, since it cordons the only node. While the agent's pod is pending, others have time to
//! create pods that look like it, so that the result does not depend on timing.

#![allow(clippy::unwrap_used, reason = "what is wrong in a test ends it")]

use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kinject_tests::cluster::{AGENT_IMAGE, Cluster, Kubeconfig, Namespace};
use kinject_tests::programs::Program;
use kinject_tests::running::{Outcome, finish, spawn};
use kinject_tests::session::{eventually, kinject_run};
use kinject_tests::testbed::{Testbed, cluster};
use kinject_tunnel::SessionKeys;
use serde_json::{Value, json};

/// How long anything here may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The name of the only node.
fn node(cluster: &Cluster) -> String {
    let nodes = cluster.kubectl_json(&["get", "nodes"]).unwrap();
    nodes["items"][0]["metadata"]["name"].as_str().unwrap().to_owned()
}

/// The node is cordoned while this value exists. One test at a time.
struct Cordoned {
    cluster: Cluster,
    node: String,
    _alone: MutexGuard<'static, ()>,
}

impl Cordoned {
    fn new(cluster: &Cluster) -> Self {
        static ONE: Mutex<()> = Mutex::new(());
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let node = node(cluster);
        cluster.kubectl(&["cordon", &node]).unwrap();
        Self {
            cluster: cluster.clone(),
            node,
            _alone: alone,
        }
    }
}

impl Drop for Cordoned {
    fn drop(&mut self) {
        if let Err(error) = self.cluster.kubectl(&["uncordon", &self.node]) {
            eprintln!("the node stays cordoned: {error:#}");
        }
    }
}

/// A namespace, and another user than the session's who may edit it.
struct Fixture {
    cluster: Cluster,
    namespace: Namespace,
    editor: Kubeconfig,
}

impl Fixture {
    fn new() -> Option<Self> {
        let cluster = cluster()?;
        let namespace = cluster.namespace("cordoned", "restricted").unwrap();
        let editor = cluster.user_with_role(namespace.name(), "edit").unwrap();
        let fixture = Self {
            cluster,
            namespace,
            editor,
        };
        let keys = SessionKeys::generate().unwrap();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "own-keys"}, "stringData": {"identity": keys.agent},
        });
        fixture.edit(&["create", "--filename", "-"], &secret.to_string());
        Some(fixture)
    }

    fn edit(&self, arguments: &[&str], manifest: &str) -> String {
        let kubeconfig = self.editor.path();
        self.cluster
            .with_manifest(&kubeconfig, arguments, manifest)
            .unwrap()
    }

    /// Creates a pod of the editor's with `nodeName` set, which runs on the cordoned node without the scheduler.
    fn create_pod(&self, metadata: &Value) {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {
            "nodeName": node(&self.cluster),
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": true, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [{"name": "keys", "secret": {"secretName": "own-keys", "defaultMode": 0o440}}],
            "containers": [{
                "name": "agent",
                "image": AGENT_IMAGE,
                // an agent with keys of the editor's own
                "args": ["--listen-proxy", "0.0.0.0:7800", "--identity", "/keys/identity"],
                "volumeMounts": [{"name": "keys", "mountPath": "/keys"}],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        }});
        self.edit(&["create", "--filename", "-"], &pod.to_string());
    }

    /// Waits until the editor's pod listens.
    fn listens(&self, pod: &str) {
        eventually("the editor's pod runs", TIMEOUT, || {
            let found = self.edit(&["get", "pod", pod, "--output", "jsonpath={.status.phase}"], "");
            found == "Running" && self.edit(&["logs", pod], "").contains("listening on")
        });
    }

    fn start(&self) -> Attempt {
        let testbed = Testbed::Cluster(self.cluster.clone());
        let flags = ["--namespace", self.namespace.name()];
        let mut command = kinject_run(&testbed, &flags, &Program::new("/bin/true"));
        let started = Instant::now();
        Attempt {
            kinject: spawn(command.stdin(Stdio::null())),
            started,
        }
    }

    /// The agent's Job, as soon as it exists.
    fn job(&self) -> Value {
        let mut found = Value::Null;
        eventually("a Job", TIMEOUT, || {
            let jobs = ["--namespace", self.namespace.name(), "get", "jobs"];
            // null while there is none
            found = self.cluster.kubectl_json(&jobs).unwrap()["items"][0].clone();
            !found.is_null()
        });
        found["metadata"].take()
    }

    fn is_clean(&self) {
        let jobs = ["--namespace", self.namespace.name(), "get", "jobs"];
        let jobs = self.cluster.kubectl_json(&jobs).unwrap();
        assert_eq!(jobs["items"].as_array().map(Vec::len), Some(0), "{jobs}");
    }
}

/// A session that is starting.
struct Attempt {
    kinject: Child,
    started: Instant,
}

impl Attempt {
    fn outcome(self) -> Outcome {
        finish(self.kinject, self.started, "kinject run", TIMEOUT)
    }
}

/// Asserts that the session waited for its own pod until its timeout.
fn waited_in_vain(outcome: &Outcome) {
    outcome
        .exited(125)
        .complains("no node takes the agent's pod")
        .complains("unschedulable")
        .complains("\n\nhint: ");
}

#[test]
fn unschedulable_pod_is_reported_with_the_schedulers_message() {
    let Some(fixture) = Fixture::new() else { return };
    let _closed = Cordoned::new(&fixture.cluster);
    waited_in_vain(&fixture.start().outcome());
    fixture.is_clean();
}

#[test]
fn pod_created_beforehand_is_not_used_whatever_its_labels() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.create_pod(&json!({"name": "beforehand", "labels": {"app.kubernetes.io/managed-by": "kinject"}}));
    fixture.listens("beforehand");
    let _closed = Cordoned::new(&fixture.cluster);
    let attempt = fixture.start();
    let job = fixture.job();
    let label = format!("batch.kubernetes.io/job-name={}", job["name"].as_str().unwrap());
    fixture.edit(&["label", "pod", "beforehand", &label], "");
    waited_in_vain(&attempt.outcome());
    let log = fixture.edit(&["logs", "beforehand"], "");
    assert_eq!(log.lines().count(), 1, "somebody connected to it: {log}");
    fixture.is_clean();
}

#[test]
fn two_pods_claiming_the_agents_job_are_refused_by_name() {
    let Some(fixture) = Fixture::new() else { return };
    let _closed = Cordoned::new(&fixture.cluster);
    let attempt = fixture.start();
    let job = fixture.job();
    fixture.create_pod(&json!({
        "name": "forged",
        "labels": {"batch.kubernetes.io/job-name": job["name"]},
        "ownerReferences": [{
            "apiVersion": "batch/v1", "kind": "Job", "controller": true, "name": job["name"], "uid": job["uid"],
        }],
    }));
    let outcome = attempt.outcome();
    outcome
        .exited(125)
        .complains("more than one pod claims to be that of the agent's Job")
        .complains("forged, kinject-agent-")
        .complains("\n\nhint: the Job makes one");
    fixture.is_clean();
}

#[test]
fn forged_event_does_not_end_a_session() {
    let Some(fixture) = Fixture::new() else { return };
    let _closed = Cordoned::new(&fixture.cluster);
    let attempt = fixture.start();
    let job = fixture.job();
    // once for the pod's name alone, and once with its UID while the pod exists
    let events = [("by-name", &json!("another")), ("by-uid", &job["uid"])].map(|(name, uid)| {
        json!({
            "apiVersion": "v1", "kind": "Event", "type": "Warning", "reason": "FailedCreate",
            "metadata": {"name": name, "namespace": fixture.namespace.name()},
            "involvedObject": {
                "apiVersion": "batch/v1", "kind": "Job", "namespace": fixture.namespace.name(),
                "name": job["name"], "uid": uid,
            },
            "source": {"component": "job-controller"},
            "message": "forged words",
        })
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": events});
    fixture.cluster.apply(&list.to_string()).unwrap();
    let outcome = attempt.outcome();
    waited_in_vain(&outcome);
    assert!(!outcome.stderr.contains("forged words"), "{outcome}");
    fixture.is_clean();
}
