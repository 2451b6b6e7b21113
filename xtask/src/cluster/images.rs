//! The images of the cluster. Nothing can be pulled, so all of them are made here and loaded into the node.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::packages::BUSYBOX;
use super::state::State;
use crate::archive::{Archive, Entry, Image, file};
use crate::{image, process};

/// The agent's image, from this clone's sources.
pub(crate) fn agent() -> Result<Archive> {
    Ok(image::agent()?.to_archive()?)
}

/// The image of the sample workloads: the program that serves all of them.
pub(crate) fn samples() -> Result<Archive> {
    Ok(image::program_image("kinject-samples:1", "kinject-sandbox")?.to_archive()?)
}

/// The pause image, and the image whose programs the node mounts into CoreDNS's pod.
pub(crate) fn pause() -> Result<Archive> {
    let image = Image {
        name: "kinject-pause:1".to_owned(),
        user: "65535:65535".to_owned(),
        environment: Vec::new(),
        entrypoint: vec!["/bin/sleep".to_owned(), "2147483647".to_owned()],
        entries: vec![folder("bin", 0o755), file("bin/sleep", 0o755, fs::read(BUSYBOX)?)],
    };
    Ok(image.to_archive()?)
}

/// A shell with the usual tools (sh, wget, nc, nslookup and so on) for pods of tests.
pub(crate) fn shell() -> Result<Archive> {
    let applets = process::output(Command::new(BUSYBOX).arg("--list"))?;
    let links = applets.lines().filter(|applet| *applet != "busybox");
    let mut entries = vec![
        folder("bin", 0o755),
        folder("etc", 0o755),
        folder("tmp", 0o1777),
        file("bin/busybox", 0o755, fs::read(BUSYBOX)?),
        file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n".to_vec()),
        file("etc/group", 0o644, b"root:x:0:\n".to_vec()),
    ];
    entries.extend(links.map(|applet| Entry::Link {
        path: format!("bin/{applet}"),
        target: "busybox".to_owned(),
    }));
    let image = Image {
        name: "kinject-shell:1".to_owned(),
        user: "0:0".to_owned(),
        environment: Vec::new(),
        entrypoint: vec!["/bin/sh".to_owned()],
        entries,
    };
    Ok(image.to_archive()?)
}

/// Loads an image into the node unless it is there, and returns whether it had to.
pub(crate) fn load(state: &State, image: &Archive) -> Result<bool> {
    let stamp = format!("images/{}", image.name.replace(':', "-"));
    if state.read(&stamp)?.as_ref() == Some(&image.id) {
        return Ok(false);
    }
    import(state, image)?;
    state.write(&stamp, &image.id)?;
    Ok(true)
}

fn import(state: &State, image: &Archive) -> Result<()> {
    process::output_with_input(ctr(state).args(["images", "import", "-"]), &image.bytes)
        .with_context(|| format!("loading {}", image.name))?;
    // containerd's Kubernetes side labels an image when it has taken notice of it.
    let filter = format!("name=={}", reference(&image.name));
    process::wait_for(
        &format!("the node's notice of {}", image.name),
        Duration::from_secs(10),
        || {
            let listed = process::output(ctr(state).args(["images", "list", &filter]))?;
            Ok(listed.contains("io.cri-containerd.image=managed").then_some(()))
        },
    )
}

/// An image that is removed from the node with this value.
pub(crate) struct Loaded {
    state: State,
    name: String,
}

/// Loads an image that no other test uses.
pub(crate) fn load_for_a_while(state: &State, image: &Archive) -> Result<Loaded> {
    let loaded = Loaded {
        state: state.clone(),
        name: image.name.clone(),
    };
    import(state, image)?;
    Ok(loaded)
}

impl Loaded {
    /// Its name and tag.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn remove(&self) -> Result<()> {
        let name = reference(&self.name);
        let list =
            |filter: &str| process::output(ctr(&self.state).args(["images", "list", "--quiet", filter]));
        let row = process::output(ctr(&self.state).args(["images", "list", &format!("name=={name}")]))?;
        let Some(digest) = row.split_whitespace().find(|word| word.starts_with("sha256:")) else {
            return Ok(());
        };
        let same = list(&format!("target.digest=={digest}"))?;
        // containerd's Kubernetes side names every image by its digest, too: once, whatever other names it has.
        let (by_digest, named): (Vec<&str>, Vec<&str>) = same
            .lines()
            .partition(|reference| reference.starts_with("sha256:"));
        let mut unused = vec![name.as_str()];
        if named.iter().all(|reference| *reference == name) {
            unused.extend(by_digest);
        }
        process::output(ctr(&self.state).args(["images", "remove", "--sync"]).args(unused))?;
        Ok(())
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("the image {} may still be in the cluster: {error:#}", self.name);
        }
    }
}

/// A name as containerd has it.
fn reference(name: &str) -> String {
    format!("docker.io/library/{name}")
}

/// Waits until containerd answers.
pub(crate) fn wait_for_containerd(state: &State) -> Result<()> {
    process::wait_for("containerd", Duration::from_secs(20), || {
        let answers =
            state.containerd_socket().exists() && ctr(state).arg("version").output()?.status.success();
        Ok(answers.then_some(()))
    })
}

fn ctr(state: &State) -> Command {
    let mut ctr = Command::new("ctr");
    ctr.arg("--address")
        .arg(state.containerd_socket())
        .args(["--namespace", "k8s.io"]);
    ctr
}

fn folder(path: &str, mode: u32) -> Entry {
    Entry::Folder {
        path: path.to_owned(),
        mode,
    }
}
