//! The reference to compare with: a program of this machine, run without kinject in a pod's network.
//!
//! It has the pod's network namespace, its `/etc/resolv.conf` and its `/etc/hosts`; everything else is the
//! machine's, as it is under `kinject run`: files, users, processes, and also `/etc/nsswitch.conf`. Entering
//! the namespace needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::Cluster;

/// Bind-mounts two files over the machine's in a mount namespace that ends with the program, and executes the program.
const ENTER: &str =
    "mount --bind \"$1\" /etc/resolv.conf && mount --bind \"$2\" /etc/hosts && shift 2 && exec \"$@\"";

/// A pod in whose network programs of this machine can be started.
#[derive(Debug)]
pub struct BarePod {
    pid: String,
    files: TempDir,
}

impl BarePod {
    /// A program in the pod's network; arguments, environment and standard streams can be added. The program has to be
    /// started before this value is dropped.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--net", "--target", &self.pid, "unshare", "--mount", "sh", "-c", ENTER, "enter",
            ])
            .arg(self.files.path().join("resolv.conf"))
            .arg(self.files.path().join("hosts"))
            .arg(program);
        command
    }
}

impl Cluster {
    /// Runs a program of this machine in a pod's network to its end.
    pub fn run_bare_in_pod(&self, namespace: &str, pod: &str, command: &[&str]) -> Result<Output> {
        let (program, arguments) = command.split_first().context("no command")?;
        let bare = self.bare_pod(namespace, pod)?;
        let output = bare
            .command(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        output.with_context(|| format!("running {program} in the network of {pod}"))
    }

    /// A running pod whose network programs can be started in.
    pub fn bare_pod(&self, namespace: &str, pod: &str) -> Result<BarePod> {
        let status = self.kubectl_json(&["--namespace", namespace, "get", "pod", pod])?;
        let container = status["status"]["containerStatuses"][0]["containerID"].as_str();
        let container = container.and_then(|id| id.strip_prefix("containerd://"));
        let container = container.with_context(|| format!("pod {pod} has no container yet"))?;
        let pid = process_of(container)?.with_context(|| format!("no process of pod {pod} runs"))?;

        let files = tempfile::tempdir()?;
        for name in ["resolv.conf", "hosts"] {
            let original = format!("/proc/{pid}/root/etc/{name}");
            fs::copy(&original, files.path().join(name)).with_context(|| format!("copying {original}"))?;
        }
        Ok(BarePod { pid, files })
    }
}

/// The PID, in this machine's PID namespace, of a process in the container, found by its control group.
fn process_of(container: &str) -> Result<Option<String>> {
    for hierarchy in ["/sys/fs/cgroup", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory"] {
        let top = Path::new(hierarchy).join("kinject-cluster");
        if !top.exists() {
            continue;
        }
        if let Some(group) = group_named(&top, container)? {
            let processes = fs::read_to_string(group.join("cgroup.procs"))
                .with_context(|| format!("reading the processes of {}", group.display()))?;
            return Ok(processes.lines().next().map(str::to_owned));
        }
    }
    Ok(None)
}

fn group_named(top: &Path, name: &str) -> Result<Option<PathBuf>> {
    let Ok(entries) = fs::read_dir(top) else {
        // Groups of other pods can disappear meanwhile.
        return Ok(None);
    };
    for entry in entries.flatten() {
        if entry.file_name() == name {
            return Ok(Some(entry.path()));
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Some(found) = group_named(&entry.path(), name)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
