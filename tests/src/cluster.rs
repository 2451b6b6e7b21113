//! The real cluster that `cargo xtask cluster up` starts, as tests see it.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use kinject_tests::cluster::Cluster;
//!
//! let Some(cluster) = Cluster::running()? else { return Ok(()) };
//! let pods = cluster.kubectl(&["get", "pods"])?;
//! let web = cluster.pod_of("default", "app=web")?;
//! let bare = cluster.run_bare_in_pod("default", &web, &["curl", "http://api/"])?;
//! assert!(bare.status.success());
//! # Ok(()) }
//! ```

mod access;
mod bare;

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use kinject_image::Image;
use kinject_test_support::containerd::{Containerd, LoadedImage};
use serde_json::Value;

pub use self::access::{Kubeconfig, Rule};
pub use self::bare::BarePod;
pub use crate::waiting::wait_for;

/// Where a cluster keeps its files.
const FOLDER: &str = "/var/lib/kinject-cluster";

/// The agent's image in the cluster.
pub const AGENT_IMAGE: &str = concat!("kinject-agent:", env!("CARGO_PKG_VERSION"));
/// The image of the sample workloads: `kinject-sandbox`, user 65532.
pub const SAMPLES_IMAGE: &str = "kinject-samples:1";
/// An image with a shell and the usual tools in `/bin`, user root.
pub const SHELL_IMAGE: &str = "kinject-shell:1";

/// The cluster that is up on this machine.
#[derive(Clone, Debug)]
pub struct Cluster {
    folder: PathBuf,
}

impl Cluster {
    /// The cluster that is up and has been ready, if any.
    pub fn running() -> Result<Option<Self>> {
        let cluster = Self {
            folder: PathBuf::from(FOLDER),
        };
        let (ready, node) = (cluster.read("ready")?, cluster.read("node.pid")?);
        let (Some(_), Some(node)) = (ready, node) else {
            return Ok(None);
        };
        // The PID may be reused; the start time identifies the process.
        let (pid, start) = node
            .trim()
            .split_once(' ')
            .with_context(|| format!("broken node.pid: {node:?}"))?;
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => {
                let behind_name = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
                let fields = behind_name.split_whitespace().collect::<Vec<_>>();
                let alive = fields.first() != Some(&"Z") && fields.get(19) == Some(&start);
                Ok(alive.then_some(cluster))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("looking for the node"),
        }
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The node's container runtime.
    pub fn containerd(&self) -> Containerd {
        Containerd::new(self.folder.join("containerd.sock"))
    }

    /// Loads an image for machines of this architecture, as Kubernetes calls it, into the node. It is removed with the
    /// returned value.
    pub fn load_image(&self, image: &Image, architecture: &str) -> Result<LoadedImage> {
        let archive = image.to_archive(architecture)?;
        LoadedImage::import(self.containerd(), &image.name, &archive.bytes)
    }

    /// The first process of the node, in its network namespace.
    pub fn node(&self) -> Result<u32> {
        let node = self.read("node.pid")?.context("the cluster has no node")?;
        let pid = node.split_whitespace().next().and_then(|pid| pid.parse().ok());
        pid.with_context(|| format!("broken node.pid: {node:?}"))
    }

    /// The cluster's own kubectl, for tests and measurements that start it themselves.
    pub fn kubectl_program(&self) -> PathBuf {
        self.folder.join("bin/kubectl")
    }

    /// kubectl as the administrator, to which arguments can be added.
    pub fn kubectl_command(&self) -> Command {
        self.kubectl_command_as(&self.kubeconfig())
    }

    /// kubectl with another kubeconfig.
    pub fn kubectl_command_as(&self, kubeconfig: &Path) -> Command {
        let mut command = Command::new(self.kubectl_program());
        command
            .env("KUBECONFIG", kubeconfig)
            .env("KUBECACHEDIR", self.folder.join("kubectl-cache"));
        command
    }

    /// Runs kubectl as the administrator and returns what it prints.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self
            .kubectl_command()
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        succeed(output.context("starting kubectl")?, arguments)
    }

    /// Runs kubectl, which returns JSON.
    pub fn kubectl_json(&self, arguments: &[&str]) -> Result<Value> {
        let printed = self.kubectl(&[arguments, &["--output", "json"]].concat())?;
        serde_json::from_str(&printed).with_context(|| format!("kubectl {arguments:?} printed no JSON"))
    }

    /// Creates or changes the objects of a manifest.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.with_manifest(&self.kubeconfig(), &["apply", "--filename", "-"], manifest)
    }

    /// Runs kubectl with another kubeconfig and a manifest as its standard input, and returns what it prints.
    pub fn with_manifest(&self, kubeconfig: &Path, arguments: &[&str], manifest: &str) -> Result<String> {
        let mut child = self
            .kubectl_command_as(kubeconfig)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting kubectl")?;
        let mut stdin = child.stdin.take().context("kubectl has no standard input")?;
        stdin
            .write_all(manifest.as_bytes())
            .context("writing to kubectl")?;
        drop(stdin);
        succeed(child.wait_with_output()?, arguments)
    }

    /// The name of a running pod with these labels.
    pub fn pod_of(&self, namespace: &str, selector: &str) -> Result<String> {
        let pods = self.kubectl_json(&["--namespace", namespace, "get", "pods", "--selector", selector])?;
        let mut running = pods["items"].as_array().into_iter().flatten().filter(|pod| {
            pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
        });
        let name = running
            .next()
            .and_then(|pod| pod["metadata"]["name"].as_str())
            .map(str::to_owned);
        name.with_context(|| format!("no running pod with {selector} in namespace {namespace}"))
    }

    /// Makes a namespace with a unique name, which is deleted when the value is dropped.
    ///
    /// `pod_security` is the level that Pod Security admission enforces: `privileged`, `baseline` or
    /// `restricted`.
    pub fn namespace(&self, prefix: &str, pod_security: &str) -> Result<Namespace> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "{prefix}-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        self.kubectl(&["create", "namespace", &name])?;
        let namespace = Namespace {
            cluster: self.clone(),
            name,
            is_gone: false,
        };
        let label = format!("pod-security.kubernetes.io/enforce={pod_security}");
        self.kubectl(&["label", "namespace", namespace.name(), &label])?;
        Ok(namespace)
    }

    fn read(&self, name: &str) -> Result<Option<String>> {
        match fs::read_to_string(self.folder.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {name} of the cluster")),
        }
    }
}

/// A namespace that is deleted, with everything in it, when this goes out of scope.
#[derive(Debug)]
pub struct Namespace {
    cluster: Cluster,
    name: String,
    is_gone: bool,
}

impl Namespace {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does not delete it: the test has done so.
    pub fn forget(mut self) {
        self.is_gone = true;
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.is_gone {
            return;
        }
        if let Err(error) = self
            .cluster
            .kubectl(&["delete", "namespace", "--wait=false", &self.name])
        {
            eprintln!("namespace {} is left behind: {error:#}", self.name);
        }
    }
}

fn succeed(output: Output, arguments: &[&str]) -> Result<String> {
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "kubectl {} failed with {}: {}",
            arguments.join(" "),
            output.status,
            stderr.trim()
        );
    }
    String::from_utf8(output.stdout).context("kubectl printed something that is not UTF-8")
}
