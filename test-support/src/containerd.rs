//! Images of a node, by ctr(1), the client of its container runtime.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::waiting::wait_for;

/// How long the runtime's Kubernetes side may take to learn of an image.
const NOTICE: Duration = Duration::from_secs(20);

/// A node's container runtime.
#[derive(Clone, Debug)]
pub struct Containerd {
    socket: PathBuf,
}

impl Containerd {
    /// The one that listens on this socket.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// ctr for the images of pods, to which arguments can be added.
    pub fn ctr(&self) -> Command {
        self.configure(Command::new("ctr"))
    }

    /// ctr in the network of a process, for what it exchanges with a registry there.
    pub fn ctr_in_network_of(&self, process: u32) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &process.to_string(), "ctr"]);
        self.configure(command)
    }

    fn configure(&self, mut ctr: Command) -> Command {
        ctr.arg("--address")
            .arg(&self.socket)
            .args(["--namespace", "k8s.io"]);
        ctr
    }

    /// Loads a docker-archive file, whose image has this name and tag and may be for another architecture than the
    /// node's, and waits until pods can use it.
    ///
    /// # Errors
    ///
    /// If ctr fails, or the Kubernetes side does not learn of the image.
    pub fn import(&self, name: &str, archive: &[u8]) -> Result<()> {
        let mut import = self.ctr();
        import.args(["images", "import", "--all-platforms", "-"]);
        output(&mut import, archive).with_context(|| format!("loading {name}"))?;
        let filter = format!("name=={}", reference(name));
        wait_for(&format!("the node's notice of {name}"), NOTICE, || {
            let listed = output(self.ctr().args(["images", "list", &filter]), b"")?;
            // the label by which the Kubernetes side marks what it knows
            Ok(listed.contains("io.cri-containerd.image=managed").then_some(()))
        })
    }

    /// Removes an image by its name, and by its digest unless it has other names.
    ///
    /// # Errors
    ///
    /// If ctr fails. An image that is not there is no error.
    pub fn remove(&self, name: &str) -> Result<()> {
        let name = reference(name);
        let row = output(self.ctr().args(["images", "list", &format!("name=={name}")]), b"")?;
        let Some(digest) = row.split_whitespace().find(|word| word.starts_with("sha256:")) else {
            return Ok(());
        };
        let same = format!("target.digest=={digest}");
        let same = output(self.ctr().args(["images", "list", "--quiet", &same]), b"")?;
        // the Kubernetes side names an image by its digest, too: alone, and after the repository of a pulled one
        let (by_digest, named): (Vec<&str>, Vec<&str>) = same
            .lines()
            .partition(|reference| reference.starts_with("sha256:") || reference.contains("@sha256:"));
        let mut unused = vec![name.as_str()];
        if named.iter().all(|reference| *reference == name) {
            unused.extend(by_digest);
        }
        output(self.ctr().args(["images", "remove", "--sync"]).args(unused), b"").map(drop)
    }
}

/// An image that is removed from the node with this value.
#[derive(Debug)]
pub struct LoadedImage {
    containerd: Containerd,
    name: String,
}

impl LoadedImage {
    /// Loads a docker-archive file, as [`Containerd::import`] does.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn import(containerd: Containerd, name: &str, archive: &[u8]) -> Result<Self> {
        // also what is there in part is removed
        let image = Self {
            containerd,
            name: name.to_owned(),
        };
        image.containerd.import(name, archive)?;
        Ok(image)
    }

    /// Its name and tag.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for LoadedImage {
    fn drop(&mut self) {
        if let Err(error) = self.containerd.remove(&self.name) {
            eprintln!("the image {} may still be on the node: {error:#}", self.name);
        }
    }
}

/// A name as containerd has it: one without a registry is of Docker Hub's own images.
pub fn reference(name: &str) -> String {
    match name.contains('/') {
        true => name.to_owned(),
        false => format!("docker.io/library/{name}"),
    }
}

/// Runs a command that reads `input`, and returns its standard output.
fn output(command: &mut Command, input: &[u8]) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start ctr")?;
    let mut stdin = child.stdin.take().context("ctr has no standard input")?;
    match stdin.write_all(input) {
        // one that closes its input early reports why on its standard error
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error.into()),
        _ => drop(stdin),
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("ctr failed with {}: {}", output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_without_a_registry_is_of_docker_hub() {
        assert_eq!(reference("app:1"), "docker.io/library/app:1");
        assert_eq!(reference("127.0.0.1:5000/app:1"), "127.0.0.1:5000/app:1");
    }
}
