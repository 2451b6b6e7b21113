//! A namespace with workloads, and a relay that carries an agent.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kinject_protocol::workload::WorkloadRequest;
use kinject_tests::cluster::{AGENT_IMAGE, Cluster, Namespace};
use kinject_tests::session::eventually;
use kinject_tests::{carried, testbed};
use serde_json::{Value, json};

use crate::relay::{Refused, RelaySession, Start};

/// How long a pod may take to run.
pub(crate) const STARTED: Duration = Duration::from_secs(60);

/// The namespace.
pub(crate) struct Home {
    pub(crate) cluster: Cluster,
    namespace: Namespace,
    programs: &'static Path,
}

impl Home {
    /// `None` without a cluster or without an agent.
    pub(crate) fn new(pod_security: &str) -> Option<Self> {
        let cluster = testbed::cluster()?;
        let programs = carried::kinject()?.parent()?;
        let namespace = cluster.namespace("workload", pod_security).unwrap();
        Some(Self {
            cluster,
            namespace,
            programs,
        })
    }

    pub(crate) fn name(&self) -> &str {
        self.namespace.name()
    }

    /// kinject, which carries an agent.
    pub(crate) fn program(&self) -> PathBuf {
        self.programs.join("kinject")
    }

    /// A command of kinject in the namespace, as the cluster's administrator.
    pub(crate) fn kinject(&self, command: &str) -> Command {
        let mut kinject = Command::new(self.program());
        kinject
            .arg(command)
            .arg("--kubeconfig")
            .arg(self.cluster.kubeconfig())
            .args(["--namespace", self.name()]);
        kinject
    }

    /// kubectl in the namespace.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let arguments = [&["--namespace", self.name()], arguments].concat();
        self.cluster.kubectl(&arguments).unwrap()
    }

    /// Creates objects in the namespace.
    pub(crate) fn apply(&self, objects: &[Value]) {
        let objects: Vec<_> = objects
            .iter()
            .map(|object| {
                let mut object = object.clone();
                object["metadata"]["namespace"] = json!(self.name());
                object
            })
            .collect();
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        self.cluster.apply(&list.to_string()).unwrap();
    }

    /// Waits for a pod with that label, and gives its name.
    pub(crate) fn running_pod(&self, app: &str) -> String {
        let selector = format!("app={app}");
        eventually("a running pod", STARTED, || {
            self.cluster.pod_of(self.name(), &selector).is_ok()
        });
        self.cluster.pod_of(self.name(), &selector).unwrap()
    }

    /// What a command in a container prints.
    pub(crate) fn exec(&self, pod: &str, container: &str, command: &[&str]) -> Vec<u8> {
        let mut kubectl: Command = self.cluster.kubectl_command();
        let output = kubectl
            .args([
                "--namespace",
                self.name(),
                "exec",
                pod,
                "--container",
                container,
                "--",
            ])
            .args(command)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "{command:?}: {}", output.status);
        output.stdout
    }

    /// A session as the cluster's administrator.
    pub(crate) fn session(&self, request: WorkloadRequest) -> Result<RelaySession, Refused> {
        self.session_as(&self.cluster.kubeconfig(), None, request)
    }

    /// A session with an image of the agent instead of a carried one.
    pub(crate) fn session_of_image(&self, request: WorkloadRequest) -> Result<RelaySession, Refused> {
        self.session_as(&self.cluster.kubeconfig(), Some(AGENT_IMAGE.to_owned()), request)
    }

    /// A session with a carried agent in that image.
    pub(crate) fn session_in_image(
        &self,
        image: &str,
        request: WorkloadRequest,
    ) -> Result<RelaySession, Refused> {
        let mut start = self.start(&self.cluster.kubeconfig());
        start.host_image = Some(image.to_owned());
        RelaySession::start(&start, request)
    }

    /// A session as another user.
    pub(crate) fn session_as(
        &self,
        kubeconfig: &Path,
        agent_image: Option<String>,
        request: WorkloadRequest,
    ) -> Result<RelaySession, Refused> {
        let mut start = self.start(kubeconfig);
        start.agent_image = agent_image;
        RelaySession::start(&start, request)
    }

    fn start(&self, kubeconfig: &Path) -> Start<'_> {
        Start {
            kubeconfig: kubeconfig.to_owned(),
            namespace: self.name(),
            programs: self.programs.to_owned(),
            agent_image: None,
            host_image: None,
        }
    }

    /// The Jobs in the namespace.
    pub(crate) fn jobs(&self) -> Vec<Value> {
        let jobs = self
            .cluster
            .kubectl_json(&["--namespace", self.name(), "get", "jobs"])
            .unwrap();
        jobs["items"].as_array().unwrap().clone()
    }
}
