//! The user, and the namespace with the workload.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use kinject_test_support::containerd::LoadedImage;
use kinject_test_support::private_folder::private_folder;
use kinject_tests::cluster::{Cluster, Namespace};
use kinject_tests::foreign_images::{WEB_PORT, WEB_SAYS, web_server};
use kinject_tests::process::kill_at_once;
use kinject_tests::running::{Outcome, run, run_within};
use kinject_tests::session::{eventually, relay_of};
use kinject_tests::testbed::cluster;
use kinject_tests::{apart, binaries, carried, skip};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a command in a session may take, with the session.
pub(crate) const SECONDS: Duration = Duration::from_secs(30);

/// How long the cluster may take to remove what belongs to a Job that is gone.
pub(crate) const REMOVAL: Duration = Duration::from_secs(60);

/// A user of this machine with a home, the executable and a kubeconfig, and the namespace that the kubeconfig is for.
pub(crate) struct User {
    pub(crate) cluster: Cluster,
    // deleted before the image of its pod
    namespace: Namespace,
    image: LoadedImage,
    id: u32,
    home: TempDir,
    kinject: PathBuf,
    /// What was in the namespace before.
    objects: BTreeSet<String>,
}

impl User {
    /// `None`, and a note, without a cluster, or where the executable or its agent is not built.
    pub(crate) fn new() -> Option<Self> {
        let cluster = cluster()?;
        let file = executable_with_agent()?;
        let namespace = cluster.namespace("edit", "restricted").unwrap();
        let image = cluster
            .load_image(&web_server(), carried::architecture())
            .unwrap();
        run_workload(&cluster, namespace.name(), image.name());

        let id = free_user_id();
        let home = private_folder(&binaries::folder());
        let path = |name: &str| home.path().join(name);
        for (folder, mode) in [("", 0o700), ("bin", 0o755), (".kube", 0o755), ("run", 0o700)] {
            fs::create_dir_all(path(folder)).unwrap();
            fs::set_permissions(path(folder), Permissions::from_mode(mode)).unwrap();
            chown(path(folder), Some(id), Some(id)).unwrap();
        }
        // a link where the file system allows it: the file is large
        let kinject = path("bin/kinject");
        fs::hard_link(&file, &kinject)
            .or_else(|_| fs::copy(&file, &kinject).map(drop))
            .unwrap();
        let kubeconfig = cluster.user_with_role(namespace.name(), "edit").unwrap();
        fs::copy(kubeconfig.path(), path(".kube/config")).unwrap();
        fs::set_permissions(path(".kube/config"), Permissions::from_mode(0o600)).unwrap();
        chown(path(".kube/config"), Some(id), Some(id)).unwrap();

        let mut user = Self {
            cluster,
            namespace,
            image,
            id,
            home,
            kinject,
            objects: BTreeSet::new(),
        };
        user.objects = user.all_objects();
        Some(user)
    }

    pub(crate) fn namespace(&self) -> &str {
        self.namespace.name()
    }

    /// The image of the namespace's workload.
    pub(crate) fn image(&self) -> &str {
        self.image.name()
    }

    /// kinject as the user types it. It is executed by the command's own process.
    pub(crate) fn kinject(&self, arguments: &[&str]) -> Command {
        self.kinject_behind(&[], arguments)
    }

    /// The same, started by a program of root's that executes what its further arguments say.
    pub(crate) fn kinject_behind(&self, launched_by: &[&str], arguments: &[&str]) -> Command {
        let (user, group) = (format!("--reuid={}", self.id), format!("--regid={}", self.id));
        let become_user = ["setpriv", &user, &group, "--clear-groups"];
        let words = [launched_by, &become_user].concat();
        let mut command = apart::command(words[0]);
        command
            .args(&words[1..])
            .arg(&self.kinject)
            .args(arguments)
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("XDG_RUNTIME_DIR", self.home.path().join("run"))
            .env("SHELL", "/bin/sh")
            .env("PATH", "/usr/bin:/bin");
        command
    }

    /// `kinject run` of a program, to its end.
    pub(crate) fn run(&self, program: &[&str]) -> Outcome {
        run_within(&mut self.kinject(&[&["run", "--"], program].concat()), SECONDS)
    }

    /// A session that stays open after a first answer of the workload.
    pub(crate) fn open_session(&self, launched_by: &[&str]) -> OpenSession {
        let arguments = ["run", "--", "sh", "-c", "curl --silent http://web/ && exec cat"];
        let mut launcher = self
            .kinject_behind(launched_by, &arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answer = String::new();
        BufReader::new(launcher.stdout.take().unwrap())
            .read_line(&mut answer)
            .unwrap();
        assert_eq!(answer, WEB_SAYS);
        let input = launcher.stdin.take();
        OpenSession { launcher, input }
    }

    /// Objects of a kind in the namespace that have kinject's label.
    pub(crate) fn made(&self, kind: &str) -> Vec<Value> {
        let selector = "app.kubernetes.io/managed-by=kinject";
        let get = [
            "--namespace",
            self.namespace(),
            "get",
            kind,
            "--selector",
            selector,
        ];
        let list = self.cluster.kubectl_json(&get).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// Asserts that the session's end has removed its Job, and waits until the namespace is as it was before.
    pub(crate) fn namespace_is_as_before(&self) {
        assert_eq!(self.made("jobs"), Vec::<Value>::new());
        self.namespace_becomes_as_before(REMOVAL);
    }

    /// Waits until nothing is in the namespace that was not there before, whatever labels it has.
    pub(crate) fn namespace_becomes_as_before(&self, limit: Duration) {
        eventually("a namespace as before", limit, || {
            self.all_objects().is_subset(&self.objects)
        });
    }

    /// Everything in the namespace but events, which tell what has happened.
    fn all_objects(&self) -> BTreeSet<String> {
        let kinds = ["api-resources", "--namespaced", "--verbs=list", "--output=name"];
        let kinds = self.cluster.kubectl(&kinds).unwrap();
        let kinds: Vec<_> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
        let get = [
            "--namespace",
            self.namespace(),
            "get",
            &kinds.join(","),
            "--output=name",
        ];
        let objects = self.cluster.kubectl(&get).unwrap();
        objects.lines().map(str::to_owned).collect()
    }
}

/// A session whose program waits.
pub(crate) struct OpenSession {
    launcher: Child,
    input: Option<ChildStdin>,
}

impl OpenSession {
    /// Ends its program; kinject's exit status.
    pub(crate) fn end(mut self) -> Option<i32> {
        drop(self.input.take());
        self.launcher.wait().unwrap().code()
    }

    /// Whether the launcher runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.launcher.try_wait().unwrap().is_none()
    }

    /// Kills launcher and relay, of which neither learns of the other's end.
    pub(crate) fn kill(mut self) {
        let relay = relay_of(self.launcher.id()).expect("the session has a relay");
        kill_at_once(&[relay, self.launcher.id()]);
        self.launcher.wait().unwrap();
    }
}

/// The one executable, if it holds the agent that is packed.
fn executable_with_agent() -> Option<PathBuf> {
    let what = "sessions of the one executable on the real cluster";
    let agent = carried::agent()?;
    let Some(file) = binaries::single_file() else {
        skip::not_run(what, "`cargo xtask dist --debug` builds it");
        return None;
    };
    let packed = fs::read_to_string(agent.join("agent.sha256")).unwrap();
    let packed = packed.split_whitespace().next().unwrap();
    let held = run(Command::new(&file).args(["version", "--output", "json"]));
    let held: Value = serde_json::from_str(&held.succeeded().stdout).unwrap();
    let mut agents = held["agents"].as_array().unwrap().iter();
    if !agents.any(|agent| agent["sha256"] == packed) {
        skip::not_run(
            what,
            "it holds another agent than `cargo xtask agent` has packed; `cargo xtask dist --debug` builds it again",
        );
        return None;
    }
    Some(file)
}

/// A user ID that no account has.
fn free_user_id() -> u32 {
    let is_free = |id: &u32| run(Command::new("getent").args(["passwd", &id.to_string()])).code() != 0;
    (47_000..60_000).find(is_free).expect("some are free")
}

/// A server of the image, with a Service `web`: port 80 leads to the server, port 81 to one on which nothing listens.
fn run_workload(cluster: &Cluster, namespace: &str, image: &str) {
    let metadata = json!({ "name": "web", "namespace": namespace, "labels": { "app": "web" } });
    let items = json!([
        {
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {
                "selector": { "app": "web" },
                "ports": [
                    { "name": "http", "port": 80, "targetPort": WEB_PORT },
                    { "name": "closed", "port": 81, "targetPort": 81 },
                ],
            },
        },
        {
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": {
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
                "containers": [{
                    "name": "web", "image": image, "imagePullPolicy": "Never",
                    "readinessProbe": { "tcpSocket": { "port": WEB_PORT }, "periodSeconds": 1 },
                    "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                }],
            },
        },
    ]);
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    cluster.apply(&list.to_string()).unwrap();
    let of_namespace = ["--namespace", namespace];
    let wait = ["wait", "--for=condition=Ready", "--timeout=60s", "pod", "web"];
    cluster.kubectl(&[&of_namespace[..], &wait].concat()).unwrap();
    // made by controllers of the cluster, a moment after the Service
    for (kind, selector) in [
        ("endpoints", "app=web"),
        ("endpointslices", "kubernetes.io/service-name=web"),
    ] {
        let get = [&of_namespace[..], &["get", kind, "--selector", selector]].concat();
        eventually("the Service's endpoints", SECONDS, || {
            let list = cluster.kubectl_json(&get).unwrap();
            let text = list.to_string();
            text.contains("\"addresses\":[") && text.contains(&WEB_PORT.to_string())
        });
    }
}

/// The address of the Service `web`.
pub(crate) fn service_address(user: &User) -> String {
    let get = ["--namespace", user.namespace(), "get", "service", "web"];
    let service = user.cluster.kubectl_json(&get).unwrap();
    service["spec"]["clusterIP"].as_str().unwrap().to_owned()
}
