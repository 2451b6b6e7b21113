//! Another user who may edit the namespace makes a pod that looks like the agent's: the session does not use it.
//!
//! Each of these pods runs the agent's own image with a copy of the real agent's keys, so that it would answer a
//! session: the session avoids it by checking UIDs, and because no two agents have the same keys.

use std::process::{Command, Stdio};
use std::time::Duration;

use kinject_tests::cluster::{AGENT_IMAGE, Kubeconfig};
use kinject_tests::programs::{Program, shell};
use kinject_tests::running::{finish, run, spawn};
use kinject_tests::session::{Session, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::time::Instant;

use crate::gate::Gate;
use crate::namespace::TestNamespace;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A user with Kubernetes' ClusterRole `edit` in the namespace of the session.
struct Editor<'a> {
    namespace: &'a TestNamespace,
    kubeconfig: Kubeconfig,
}

impl<'a> Editor<'a> {
    fn of(namespace: &'a TestNamespace) -> Self {
        let kubeconfig = namespace
            .cluster
            .user_with_role(namespace.name(), "edit")
            .unwrap();
        Self {
            namespace,
            kubeconfig,
        }
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        self.with(arguments, "")
    }

    fn create(&self, object: &Value) {
        self.with(&["create", "--filename", "-"], &object.to_string());
    }

    fn with(&self, arguments: &[&str], manifest: &str) -> String {
        self.namespace
            .cluster
            .with_manifest(&self.kubeconfig.path(), arguments, manifest)
            .unwrap()
    }

    fn get(&self, kind: &str, name: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", kind, name, "--output", "json"])).unwrap()
    }

    /// Deletes a pod and waits until its name is free.
    fn delete_pod(&self, name: &str) {
        self.kubectl(&["delete", "pod", name, "--grace-period=0", "--force"]);
        eventually("the pod's name is free", TIMEOUT, || {
            self.kubectl(&["get", "pod", name, "--ignore-not-found"])
                .is_empty()
        });
    }

    /// The labels of the agent's pod by which sessions find it. The Job's controller knows its pods by another one: it
    /// would count an impostor with that one as its own, and remove it.
    fn labels_of(&self, pod: &str) -> Value {
        let mut labels = self.get("pod", pod)["metadata"]["labels"].clone();
        for known_by_controller in ["controller-uid", "batch.kubernetes.io/controller-uid"] {
            labels.as_object_mut().unwrap().remove(known_by_controller);
        }
        labels
    }

    /// Copies the keys of the running agent, and returns them.
    fn copy_keys(&self) -> Value {
        let keys = keys(self.namespace);
        self.create(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "copy"}, "data": keys,
        }));
        keys
    }

    /// Starts a pod with these labels that runs an agent with the copied keys, and waits until it runs.
    fn run_copy(&self, name: &str, labels: &Value) {
        self.create(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 65532, "fsGroup": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [{
                    "name": "agent",
                    "image": AGENT_IMAGE,
                    "args": [
                        "--identity", "/run/kinject/identity",
                        "--listen-forward", "127.0.0.1:7801", "--listen-proxy", "[::]:7800",
                    ],
                    "volumeMounts": [{"name": "identity", "mountPath": "/run/kinject"}],
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                    },
                }],
                "volumes": [{"name": "identity", "secret": {"secretName": "copy"}}],
            },
        }));
        eventually("the impostor runs", TIMEOUT, || {
            self.get("pod", name)["status"]["phase"] == "Running"
        });
        eventually("the impostor listens", TIMEOUT, || {
            self.kubectl(&["logs", name]).contains("API server's proxy")
        });
    }

    /// Asserts that it got no connection.
    fn was_left_alone(&self, name: &str) {
        let log = self.kubectl(&["logs", name]);
        let called = log.lines().find(|line| !line.contains("listening on"));
        assert_eq!(called, None, "{log}");
    }
}

/// The keys of the running agent, from its Secret.
fn keys(namespace: &TestNamespace) -> Value {
    let secrets = namespace.made("secrets");
    assert_eq!(secrets.len(), 1, "{secrets:?}");
    secrets[0]["data"].clone()
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// Waits until a service answers in the session.
fn answers(session: &Session) {
    let ask = shell("curl -sS --max-time 5 http://web.default/");
    eventually("an answer of the service", TIMEOUT, || {
        let outcome = run(session.command(&ask.path).args(&ask.arguments));
        outcome.stdout == "hello from web\n"
    });
}

#[test]
fn pod_with_the_agents_name_is_never_connected_to() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let editor = Editor::of(&namespace);
    let session = namespace.session(&[]);
    let keys_before = editor.copy_keys();
    let pod = namespace.pod();
    let labels = editor.labels_of(&pod);
    // the session does not notice before the impostor is ready
    signal(session.relay(), Signal::STOP);
    editor.delete_pod(&pod);
    editor.run_copy(&pod, &labels);
    signal(session.relay(), Signal::CONT);
    answers(&session);
    editor.was_left_alone(&pod);
    assert_ne!(keys(&namespace), keys_before);
    assert_eq!(session.end(), 0);
}

#[test]
fn deleted_agent_is_replaced_with_new_keys_though_a_copy_of_it_runs() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let editor = Editor::of(&namespace);
    let session = namespace.session(&[]);
    let keys_before = editor.copy_keys();
    let pod = namespace.pod();
    let mut labels = editor.labels_of(&pod);
    editor.run_copy("with-the-old-labels", &labels);
    // the name that a next Job would have if it could be guessed
    let job = format!("kinject-agent-{}", session.name());
    labels["batch.kubernetes.io/job-name"] = json!(format!("{job}-2"));
    editor.run_copy("with-the-next-labels", &labels);
    editor.kubectl(&["delete", "pod", &pod, "--wait=false"]);
    answers(&session);
    eventually("new keys", TIMEOUT, || namespace.made("secrets").len() == 1);
    assert_ne!(keys(&namespace), keys_before);
    let jobs = namespace.made("jobs");
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    let name = jobs[0]["metadata"]["name"].as_str().unwrap();
    assert!(
        name.starts_with(&format!("{job}-")) && !name.ends_with("-2"),
        "{name}"
    );
    editor.was_left_alone("with-the-old-labels");
    editor.was_left_alone("with-the-next-labels");
    assert_eq!(session.end(), 0);
}

#[test]
fn tunnel_to_another_pod_of_the_same_name_is_dropped_unused() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let editor = Editor::of(&namespace);
    // holds back the request that opens the tunnel
    let gate = Gate::before(&namespace.cluster, "/proxy/ HTTP/1.1");
    let mut command = kinject_tests::apart::kinject();
    command
        .args([
            "run",
            "--transport",
            "proxy",
            "--namespace",
            namespace.name(),
            "--kubeconfig",
        ])
        .arg(gate.kubeconfig())
        .args(["--", "echo", "the program ran"]);
    let started = Instant::now();
    let kinject = spawn(command.stdin(Stdio::null()));
    gate.wait_for_request(TIMEOUT);
    editor.copy_keys();
    let pod = namespace.pod();
    let labels = editor.labels_of(&pod);
    editor.delete_pod(&pod);
    editor.run_copy(&pod, &labels);
    gate.open();
    let outcome = finish(kinject, started, "kinject run", 2 * TIMEOUT);
    outcome
        .exited(125)
        .prints("")
        .complains(&format!("another pod took the name {pod} of the agent's"))
        .complains("\n\nhint: somebody who may edit namespace");
    // the kubelet serves a container's log with a delay
    eventually("the copy's log of the tunnel", TIMEOUT, || {
        let log = editor.kubectl(&["logs", &pod]);
        log.contains("tunnel open") && log.contains("tunnel closed")
    });
}

#[test]
fn user_with_the_view_role_cannot_read_the_keys() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let session = namespace.session(&[]);
    let keys = keys(&namespace);
    let secret = format!("kinject-agent-{}", session.name());
    let viewer = namespace
        .cluster
        .user_with_role(namespace.name(), "view")
        .unwrap();
    let asked = |arguments: &[&str]| {
        let mut kubectl: Command = namespace.cluster.kubectl_command_as(&viewer.path());
        run(kubectl.args(arguments))
    };
    asked(&["get", "secret", &secret])
        .exited(1)
        .complains("cannot get resource \"secrets\"");
    let seen = asked(&["get", "jobs,pods,events", "--output", "json"]);
    seen.succeeded().shows(&secret);
    use base64::Engine as _;
    let identity = keys["identity"].as_str().unwrap();
    let identity = base64::engine::general_purpose::STANDARD
        .decode(identity)
        .unwrap();
    let identity: Value = serde_json::from_slice(&identity).unwrap();
    for (name, key) in identity.as_object().unwrap() {
        assert!(!seen.stdout.contains(key.as_str().unwrap()), "{name} can be seen");
    }
    assert_eq!(session.end(), 0);
}

#[test]
fn cleanup_after_a_killed_relay_spares_jobs_named_by_a_forged_pod() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let editor = Editor::of(&namespace);
    let session = namespace.session(&[]);
    editor.create(&json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "payroll"},
        "spec": {"suspend": true, "template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "payroll", "image": AGENT_IMAGE}],
        }}},
    }));
    let uid = editor.get("job", "payroll")["metadata"]["uid"].clone();
    let mut labels = editor.labels_of(&namespace.pod());
    labels["batch.kubernetes.io/job-name"] = json!("payroll");
    editor.create(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "forged", "labels": labels,
            "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "name": "payroll", "uid": uid, "controller": true},
            ],
        },
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "idle", "image": AGENT_IMAGE,
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    }));
    let own = format!("kinject-agent-{}", session.name());
    signal(session.relay(), Signal::KILL);
    eventually("the session's own Job is gone", TIMEOUT, || {
        namespace
            .made("jobs")
            .iter()
            .all(|job| job["metadata"]["name"] != own.as_str())
    });
    assert_eq!(session.end(), 0);
    let payroll = editor.get("job", "payroll");
    assert_eq!(payroll["metadata"]["uid"], uid);
    assert!(payroll["metadata"]["deletionTimestamp"].is_null(), "{payroll}");
}

#[test]
fn foreign_secret_with_the_agents_name_ends_the_attempt() {
    let Some(namespace) = TestNamespace::new() else {
        return;
    };
    let editor = Editor::of(&namespace);
    let gate = Gate::before(&namespace.cluster, "/secrets? HTTP/1.1");
    let mut command = kinject_tests::apart::kinject();
    command
        .args(["run", "--namespace", namespace.name(), "--kubeconfig"])
        .arg(gate.kubeconfig())
        .arg("--")
        .arg(Program::new("/bin/true").path);
    let started = Instant::now();
    let kinject = spawn(command.stdin(Stdio::null()));
    gate.wait_for_request(TIMEOUT);
    let job = namespace.made("jobs")[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    editor.kubectl(&["create", "secret", "generic", &job, "--from-literal=identity={}"]);
    gate.open();
    finish(kinject, started, "kinject run", 2 * TIMEOUT)
        .exited(125)
        .complains(&format!("secrets \"{job}\" already exists"))
        .complains("\n\nhint: somebody else has made it");
}
