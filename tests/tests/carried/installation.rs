//! A kinject that carries an agent, and a namespace for it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use kinject_tests::apart;
use kinject_tests::cluster::{Cluster, Namespace, Rule};
pub(crate) use kinject_tests::installation::{agents, install};
use kinject_tests::running::{Outcome, run_within};
use kinject_tests::session::{Session, eventually};
use kinject_tests::testbed::{Testbed, cluster};
use serde_json::{Value, json};
use tempfile::TempDir;

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

/// This machine's agent among them.
pub(crate) fn agent() -> Option<PathBuf> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => panic!("there are no agents for {other}"),
    };
    Some(agents()?.join(architecture))
}

/// The programs under test in a folder that holds agents as well, which lives as long as the tests.
fn kinject_with_agents() -> Option<&'static Path> {
    static INSTALLATION: LazyLock<Option<(TempDir, PathBuf)>> = LazyLock::new(|| {
        let agents = agents()?;
        let folder = install(&agents);
        let kinject = folder.path().join("kinject");
        Some((folder, kinject))
    });
    INSTALLATION.as_ref().map(|(_, kinject)| kinject.as_path())
}

/// A namespace that enforces what Pod Security calls "restricted", and a kinject that carries agents.
pub(crate) struct Home {
    pub(crate) cluster: Cluster,
    pub(crate) kinject: &'static Path,
    testbed: Testbed,
    namespace: Namespace,
}

impl Home {
    /// `None` without a cluster or without an agent.
    pub(crate) fn new() -> Option<Self> {
        let cluster = cluster()?;
        let kinject = kinject_with_agents()?;
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
        Session::start_by(
            self.kinject,
            &self.testbed,
            &["--namespace", self.name(), "--host-image", PAUSE_IMAGE],
        )
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
        let used = used.to_string();
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": { "name": "full", "namespace": self.name() },
            "spec": { "hard": { (resource): used } },
        });
        self.cluster.apply(&quota.to_string()).unwrap();
        eventually("the quota's controller", SECONDS, || {
            let get = ["--namespace", self.name(), "get", "quota", "full"];
            self.cluster.kubectl_json(&get).unwrap()["status"]["used"][resource] == used.as_str()
        });
    }

    /// A running pod of that image, which fits the standard.
    pub(crate) fn run_pod(&self, name: &str, image: &str, command: &[&str]) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": self.name() },
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" },
                },
                "containers": [{
                    "name": "main", "image": image, "imagePullPolicy": "Never", "command": command,
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
