//! The images of the cluster. Nothing can be pulled, so all of them are made here and loaded into the node.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use kinject_test_support::containerd::{Containerd, LoadedImage};

use super::packages::BUSYBOX;
use super::state::State;
use crate::archive::{Archive, Entry, Image, file};
use crate::{archive, image, process};

/// The agent's image, from this clone's sources.
pub(crate) fn agent() -> Result<Archive> {
    archive::of(&image::agent()?)
}

/// The image of the sample workloads: the program that serves all of them.
pub(crate) fn samples() -> Result<Archive> {
    archive::of(&image::program_image("kinject-samples:1", "kinject-sandbox")?)
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
    archive::of(&image)
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
    archive::of(&image)
}

/// Loads an image into the node unless it is there, and returns whether it had to.
pub(crate) fn load(state: &State, image: &Archive) -> Result<bool> {
    let stamp = format!("images/{}", image.name.replace(':', "-"));
    if state.read(&stamp)?.as_ref() == Some(&image.id) {
        return Ok(false);
    }
    containerd(state).import(&image.name, &image.bytes)?;
    state.write(&stamp, &image.id)?;
    Ok(true)
}

/// Loads an image that no other test uses.
pub(crate) fn load_for_a_while(state: &State, image: &Archive) -> Result<LoadedImage> {
    LoadedImage::import(containerd(state), &image.name, &image.bytes)
}

/// Waits until containerd answers.
pub(crate) fn wait_for_containerd(state: &State) -> Result<()> {
    process::wait_for("containerd", Duration::from_secs(20), || {
        let answers = state.containerd_socket().exists()
            && containerd(state).ctr().arg("version").output()?.status.success();
        Ok(answers.then_some(()))
    })
}

fn containerd(state: &State) -> Containerd {
    Containerd::new(state.containerd_socket())
}

fn folder(path: &str, mode: u32) -> Entry {
    Entry::Folder {
        path: path.to_owned(),
        mode,
    }
}
