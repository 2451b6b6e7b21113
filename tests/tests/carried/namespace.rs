//! A namespace for each test, in which a kinject that carries agents has sessions.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kinject_tests::cluster::{Cluster, Namespace, Rule};
use kinject_tests::running::{Outcome, run_within};
use kinject_tests::session::{Session, eventually};
use kinject_tests::testbed::{Testbed, cluster};
use kinject_tests::{apart, carried};
use serde_json::{Value, json};

/// How long a command in a session may take, with the session.
pub(crate) const SECONDS: Duration = Duration::from_secs(30);

/// How long the cluster may take to remove what belongs to a Job that is gone.
pub(crate) const REMOVAL: Duration = Duration::from_secs(60);

/// The image of the node's own sandboxes: a program that sleeps, for another user than the agent's.
pub(crate) const PAUSE_IMAGE: &str = "kinject-pause:1";

/// What asks a service of the samples.
pub(crate) const ASK_WEB: [&str; 5] = ["curl", "--silent", "--max-time", "10", "http://web.default/"];

/// What the service says.
pub(crate) const WEB_SAYS: &str = "hello from web\n";

const fn rule(
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Rule<'static> {
    Rule {
        groups,
        resources,
        verbs,
    }
}

/// What a session needs whose agent has an image.
pub(crate) const WITH_IMAGE: [Rule<'static>; 4] = [
    rule(&["batch"], &["jobs"], &["create", "delete"]),
    rule(&[""], &["secrets"], &["create"]),
    rule(&[""], &["pods"], &["get", "list", "watch"]),
    rule(&[""], &["pods/proxy"], &["get"]),
];

/// What a session with a carried agent needs at least.
pub(crate) const CARRIED: [Rule<'static>; 6] = [
    WITH_IMAGE[0],
    WITH_IMAGE[1],
    WITH_IMAGE[2],
    WITH_IMAGE[3],
    rule(&["batch"], &["jobs"], &["patch"]),
    rule(&[""], &["configmaps"], &["create", "get", "patch"]),
];

/// A namespace that enforces what Pod Security calls "restricted", and a kinject that carries agents.
pub(crate) struct TestNamespace {
    pub(crate) cluster: Cluster,
    pub(crate) kinject: &'static Path,
    testbed: Testbed,
    namespace: Namespace,
}

impl TestNamespace {
    /// `None` without a cluster or without an agent.
    pub(crate) fn new() -> Option<Self> {
        let cluster = cluster()?;
        let kinject = carried::kinject()?;
        let namespace = cluster.namespace("carried", "restricted").unwrap();
        Some(Self {
            testbed: Testbed::Cluster(cluster.clone()),
            cluster,
            kinject,
            namespace,
        })
    }

    pub(crate) fn name(&self) -> &str {
        self.namespace.name()
    }

    /// A session in the pause image.
    pub(crate) fn session(&self) -> Session {
        self.session_by(self.kinject)
    }

    /// The same, with another build of kinject.
    pub(crate) fn session_by(&self, kinject: &Path) -> Session {
        let flags = ["--namespace", self.name(), "--host-image", PAUSE_IMAGE];
        Session::start_by(kinject, &self.testbed, &flags)
    }

    /// A session in the pause image with another kubeconfig.
    pub(crate) fn session_with(&self, kubeconfig: &Path) -> Session {
        let kubeconfig = kubeconfig.to_str().unwrap();
        let flags = [
            "--kubeconfig",
            kubeconfig,
            "--namespace",
            self.name(),
            "--host-image",
            PAUSE_IMAGE,
        ];
        Session::start_by(self.kinject, &self.testbed, &flags)
    }

    /// `kinject run` of what asks a service, as the administrator unless the flags say otherwise.
    pub(crate) fn command(&self, flags: &[&str]) -> Command {
        self.command_by(self.kinject, flags)
    }

    /// The same, with another build of kinject.
    pub(crate) fn command_by(&self, kinject: &Path, flags: &[&str]) -> Command {
        let mut command = apart::command(kinject);
        command
            .env_remove("KINJECT_AGENT_IMAGE")
            .arg("run")
            .args(self.testbed.flags())
            .args(["--namespace", self.name()])
            .args(flags)
            .arg("--")
            .args(ASK_WEB);
        command
    }

    /// The same to its end.
    pub(crate) fn ask(&self, flags: &[&str]) -> Outcome {
        run_within(&mut self.command(flags), SECONDS)
    }

    /// Everything of a kind that kinject has made here.
    pub(crate) fn made(&self, kind: &str) -> Vec<Value> {
        let selector = "app.kubernetes.io/managed-by=kinject";
        let list = self
            .cluster
            .kubectl_json(&["--namespace", self.name(), "get", kind, "--selector", selector])
            .unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// The UIDs of the ConfigMaps with the agent, and how many owners each has.
    pub(crate) fn maps(&self) -> Vec<(String, usize)> {
        let owners = |map: &Value| map["metadata"]["ownerReferences"].as_array().map_or(0, Vec::len);
        let maps = self.made("configmaps");
        let mut maps: Vec<_> = maps
            .iter()
            .map(|map| (map["metadata"]["uid"].as_str().unwrap().to_owned(), owners(map)))
            .collect();
        maps.sort();
        maps
    }

    /// Waits until the cluster has removed all of it.
    pub(crate) fn becomes_clean(&self) {
        eventually("nothing of kinject's", REMOVAL, || {
            self.made("jobs,pods,secrets,configmaps").is_empty()
        });
    }

    /// Asserts that the session has removed its Job, and waits for what the cluster removes with it.
    pub(crate) fn is_clean(&self) {
        assert_eq!(self.made("jobs"), Vec::<Value>::new());
        self.becomes_clean();
    }

    /// A quota of the namespace that is used up, in force.
    pub(crate) fn apply_full_quota(&self, resource: &str, used: u32) {
        self.apply_quota(resource, used, used);
    }

    /// A quota of the namespace, in force, of which so much is used.
    pub(crate) fn apply_quota(&self, resource: &str, hard: u32, used: u32) {
        let (hard, used) = (hard.to_string(), used.to_string());
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": { "name": "full", "namespace": self.name() },
            "spec": { "hard": { (resource): hard } },
        });
        self.cluster.apply(&quota.to_string()).unwrap();
        eventually("the quota's controller", SECONDS, || {
            let get = ["--namespace", self.name(), "get", "quota", "full"];
            let status = self.cluster.kubectl_json(&get).unwrap()["status"].take();
            status["hard"][resource] == hard.as_str() && status["used"][resource] == used.as_str()
        });
    }

    /// A running pod of that image, which fits the standard.
    pub(crate) fn run_pod(&self, name: &str, image: &str, command: &[&str]) {
        self.run_pod_pulled_with(name, image, command, &[]);
    }

    /// The same, of an image that the node pulls with these Secrets unless it has it.
    pub(crate) fn run_pod_pulled_with(&self, name: &str, image: &str, command: &[&str], secrets: &[&str]) {
        let secrets: Value = secrets.iter().map(|name| json!({ "name": name })).collect();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": self.name() },
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "imagePullSecrets": secrets,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" },
                },
                "containers": [{
                    "name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": command,
                    "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                }],
            },
        });
        self.cluster.apply(&pod.to_string()).unwrap();
        let condition = [
            "--namespace",
            self.name(),
            "wait",
            "--for=condition=Ready",
            "--timeout=60s",
            "pod",
            name,
        ];
        self.cluster.kubectl(&condition).unwrap();
    }
}

/// Asserts that the service has answered.
#[track_caller]
pub(crate) fn assert_answered(outcome: &Outcome) {
    assert_eq!(
        (outcome.code(), outcome.stdout.as_str()),
        (0, WEB_SAYS),
        "{outcome}"
    );
}
