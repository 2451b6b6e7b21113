//! An image with variables and a user of its own, which the node has for as long as this value exists.

use std::fs;

use kinject_image::{Entry, Image, file};
use kinject_test_support::containerd::LoadedImage;
use kinject_tests::carried;
use kinject_tests::cluster::Cluster;

/// A shell for all commands of the image.
const BUSYBOX: &str = "/bin/busybox";

/// The user of the image.
pub(crate) const USER: u32 = 1234;

/// Files in `/srv/files`: one for each program that copies one.
pub(crate) const COPIED: [&str; 5] = ["cp", "install", "tar", "rsync", "python3"];

/// What is in each of them, many times.
pub(crate) const CONTENT: &[u8] = b"a file of the image\n";

/// An image on the cluster's node, which is removed with this value.
pub(crate) struct NodeImage {
    _loaded: LoadedImage,
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
        Self {
            _loaded: cluster.load_image(&image, carried::architecture()).unwrap(),
            name,
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
        folder("srv"),
        folder("srv/files"),
        file("bin/busybox", 0o755, fs::read(BUSYBOX).unwrap()),
        file(
            "etc/passwd",
            0o644,
            b"app:x:1234:1234:app:/home/app:/bin/sh\n".to_vec(),
        ),
    ];
    for name in COPIED {
        entries.push(file(&format!("srv/files/{name}"), 0o444, CONTENT.repeat(20_000)));
    }
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
