//! An image with variables and a user of its own, which the node has for as long as this value exists.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use kinject_image::{Entry, Image, file};
use kinject_tests::cluster::Cluster;
use kinject_tests::running::run;
use kinject_tests::session::eventually;

/// A shell for all commands of the image.
const BUSYBOX: &str = "/bin/busybox";

/// The user of the image.
pub(crate) const USER: u32 = 1234;

/// How long the node may take to notice an image.
const NOTICED: Duration = Duration::from_secs(20);

/// An image on the cluster's node.
pub(crate) struct NodeImage {
    cluster: Cluster,
    pub(crate) name: String,
}

impl NodeImage {
    /// Makes an image with a shell and puts it on the node.
    pub(crate) fn load(cluster: &Cluster, tag: &str) -> Self {
        let name = format!("docker.io/library/kinject-workload:{tag}");
        let image = Image {
            name: name.clone(),
            user: format!("{USER}:{USER}"),
            environment: vec![
                "FROM_IMAGE=of the image".to_owned(),
                "OVERRIDDEN=of the image".to_owned(),
            ],
            entrypoint: vec!["/bin/sleep".to_owned(), "3600".to_owned()],
            entries: entries(),
        };
        let archive = image.to_archive().unwrap();
        let mut import = ctr(cluster);
        let mut import = import
            .args(["import", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        import.stdin.take().unwrap().write_all(&archive.bytes).unwrap();
        assert!(import.wait().unwrap().success(), "the image is imported");
        let loaded = Self {
            cluster: cluster.clone(),
            name,
        };
        eventually("the node's notice of the image", NOTICED, || {
            let row = run(ctr(cluster).args(["list", &format!("name=={}", loaded.name)]));
            row.stdout.contains("io.cri-containerd.image=managed")
        });
        loaded
    }
}

impl Drop for NodeImage {
    fn drop(&mut self) {
        let removed = run(ctr(&self.cluster).args(["remove", &self.name]));
        if removed.code() != 0 {
            eprintln!("an image is left behind: {removed}");
        }
    }
}

fn entries() -> Vec<Entry> {
    let folder = |path: &str| Entry::Folder {
        path: path.to_owned(),
        mode: 0o755,
    };
    let mut entries = vec![
        folder("bin"),
        folder("etc"),
        file("bin/busybox", 0o755, fs::read(BUSYBOX).unwrap()),
        file(
            "etc/passwd",
            0o644,
            b"app:x:1234:1234:app:/home/app:/bin/sh\n".to_vec(),
        ),
    ];
    for applet in [
        "sh",
        "sleep",
        "env",
        "cat",
        "find",
        "sort",
        "stat",
        "sha256sum",
        "readlink",
    ] {
        entries.push(Entry::Link {
            path: format!("bin/{applet}"),
            target: "busybox".to_owned(),
        });
    }
    entries
}

fn ctr(cluster: &Cluster) -> Command {
    let mut command = Command::new("ctr");
    command
        .arg("--address")
        .arg(cluster.containerd_socket())
        .args(["--namespace", "k8s.io", "images"]);
    command
}
