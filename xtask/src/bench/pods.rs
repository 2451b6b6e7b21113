//! What the benchmark makes in the cluster: a namespace with a pod to measure from, and Jobs to compare a session's
//! start with. Deleting the namespace removes all of it.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::api::Api;
use super::helper::tied;
use super::namespaces;
use crate::cluster::Borrowed;
use crate::process;

/// How long a pod may take to start or to end.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The label of the Jobs that are not kinject's.
const OURS: &str = "kinject-bench";

/// A namespace, which is deleted with this value.
pub(crate) struct Namespace<'a> {
    cluster: &'a Borrowed,
    api: &'a Api,
    name: String,
}

impl<'a> Namespace<'a> {
    /// Makes one that admits pods of the Pod Security level "restricted" only.
    pub(crate) fn new(cluster: &'a Borrowed, api: &'a Api) -> Result<Self> {
        let namespace = Self {
            cluster,
            api,
            name: format!("kinject-bench-{}", std::process::id()),
        };
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        let manifest = json!({ "metadata": { "name": namespace.name, "labels": labels } });
        api.create("/api/v1/namespaces", &manifest)?;
        // No pod is admitted before its service account exists.
        let accounts = namespace.path("/api/v1", "serviceaccounts");
        process::wait_for("the namespace's account", TIMEOUT, || {
            let found = api.get(&accounts)?;
            Ok(items(&found)?
                .iter()
                .any(|one| one["metadata"]["name"] == "default")
                .then_some(()))
        })?;
        Ok(namespace)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn path(&self, group: &str, resource: &str) -> String {
        format!("{group}/namespaces/{}/{resource}", self.name)
    }

    /// A pod of the samples' image, to measure from.
    pub(crate) fn inside(&self) -> Result<Inside> {
        let manifest = json!({
            "metadata": { "name": "inside" },
            "spec": {
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 1,
                "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
                "containers": [{
                    "name": "samples",
                    "image": "kinject-samples:1",
                    "imagePullPolicy": "Never",
                    "args": ["serve", "--name", "bench"],
                    "securityContext": {
                        "allowPrivilegeEscalation": false,
                        "capabilities": { "drop": ["ALL"] },
                    },
                }],
            },
        });
        let pods = self.path("/api/v1", "pods");
        self.api.create(&pods, &manifest)?;
        let container = process::wait_for("a pod to measure from", TIMEOUT, || {
            let pod = self.api.get(&format!("{pods}/inside"))?;
            let container = pod["status"]["containerStatuses"][0]["containerID"].as_str();
            Ok(runs(&pod).then_some(container.map(str::to_owned)).flatten())
        })?;
        let (_, container) = container.split_once("://").context("a container without an id")?;
        let inside = Inside {
            pid: process_of(container)?.context("the pod has no process")?,
        };
        namespaces::allow_many_connections(|program| inside.command(program))?;
        Ok(inside)
    }

    /// A Job with the same pod as a running session's, and a copy of the Secret that it mounts.
    pub(crate) fn bare_job(&self) -> Result<BareJob<'_>> {
        let sessions = "jobs?labelSelector=app.kubernetes.io/managed-by=kinject";
        let jobs = self.api.get(&self.path("/apis/batch/v1", sessions))?;
        let job = items(&jobs)?.first().context("no session has a Job")?;
        let mut pod = job["spec"]["template"]["spec"].clone();
        let named = pod.pointer_mut("/volumes/0/secret/secretName");
        let named = named.context("a session's pod mounts no Secret")?;
        let secrets = self.path("/api/v1", "secrets");
        let keys = named.as_str().context("a Secret without a name")?.to_owned();
        let keys = self.api.get(&format!("{secrets}/{keys}"))?;
        *named = json!(OURS);
        self.api.create(
            &secrets,
            &json!({ "metadata": { "name": OURS }, "data": keys["data"] }),
        )?;
        Ok(BareJob {
            namespace: self,
            manifest: json!({
                "metadata": { "name": OURS, "labels": { "app.kubernetes.io/managed-by": OURS } },
                "spec": { "backoffLimit": 0, "template": { "spec": pod } },
            }),
        })
    }

    /// Waits until no Job's pod is left, so that the next one has the node to itself.
    pub(crate) fn wait_until_jobs_are_gone(&self) -> Result<()> {
        let pods = self.path("/api/v1", "pods?labelSelector=batch.kubernetes.io/job-name");
        process::wait_for("the end of the agents' pods", TIMEOUT, || {
            Ok(items(&self.api.get(&pods)?)?.is_empty().then_some(()))
        })
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        if self.cluster.is_temporary() {
            return;
        }
        // A kubectl of its own: the background one may have received the same Ctrl-C.
        let deleted = process::output(self.cluster.kubectl().args([
            "delete",
            "namespace",
            "--ignore-not-found",
            "--timeout=60s",
            &self.name,
        ]));
        if let Err(error) = deleted {
            eprintln!("the namespace {} may still be there: {error:#}", self.name);
        }
    }
}

/// A Job of the same pod as a session's, without kinject.
pub(crate) struct BareJob<'a> {
    namespace: &'a Namespace<'a>,
    manifest: Value,
}

impl BareJob<'_> {
    /// The time from its creation to the event that its pod runs.
    pub(crate) fn time(&self) -> Result<Duration> {
        let (namespace, api) = (self.namespace, self.namespace.api);
        let jobs = namespace.path("/apis/batch/v1", "jobs");
        let watched = format!("pods?watch=true&labelSelector=batch.kubernetes.io/job-name={OURS}");
        let mut watch = api.watch(&namespace.path("/api/v1", &watched))?;
        let start = Instant::now();
        api.create(&jobs, &self.manifest)?;
        while !runs(&watch.next()?) {}
        let taken = start.elapsed();
        api.delete(&format!("{jobs}/{OURS}?propagationPolicy=Background"))?;
        Ok(taken)
    }
}

/// The network of a pod.
pub(crate) struct Inside {
    pid: u32,
}

impl Inside {
    /// A program of this machine in the pod's network, to which arguments can be added.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = tied("nsenter");
        command.args(["--net", "--target", &self.pid.to_string(), "--", program]);
        command
    }
}

fn items(list: &Value) -> Result<&Vec<Value>> {
    list["items"].as_array().context("a list without items")
}

/// Whether a pod's container runs and has an address, the condition that a session waits for.
fn runs(pod: &Value) -> bool {
    let status = &pod["status"];
    status["containerStatuses"][0]["state"]["running"].is_object() && status["podIP"].is_string()
}

/// A process of a container, by the name of its control group.
fn process_of(container: &str) -> Result<Option<u32>> {
    for entry in fs::read_dir("/proc").context("reading /proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse().ok()) else {
            continue;
        };
        // Processes come and go while /proc is read.
        let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if groups.lines().any(|group| group.ends_with(container)) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_runs_when_its_container_runs_and_it_has_an_address() {
        let state = json!([{ "state": { "running": { "startedAt": "2020-02-02T20:20:20Z" } } }]);
        assert!(!runs(&json!({ "status": { "containerStatuses": state } })));
        assert!(runs(
            &json!({ "status": { "containerStatuses": state, "podIP": "10.0.0.1" } })
        ));
        assert!(!runs(
            &json!({ "status": { "phase": "Pending", "podIP": "10.0.0.1" } })
        ));
    }

    #[test]
    fn missing_container_has_no_process() {
        assert_eq!(process_of("no-such-container").unwrap(), None);
    }
}
