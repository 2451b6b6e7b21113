//! Container images as docker-archive files, made without a container engine.
//!
//! Such a file is a tar of a manifest, a configuration and one tar for each layer; `docker load`, `podman
//! load`, `kind load image-archive` and `ctr images import` all take it. The same content always gives the
//! same bytes: no times, no owners but root, entries in the order given.

use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use tar::{Builder, EntryType, Header};

/// The user and group of images that hold a program of kinject's: not root, and nobody whom an image would name.
const USER: &str = "65532:65532";

/// An image of one layer.
#[derive(Debug)]
pub struct Image {
    /// Its name and tag.
    pub name: String,
    /// The numeric user and group that it runs as.
    pub user: String,
    /// Its variables besides PATH, as `NAME=VALUE`.
    pub environment: Vec<String>,
    /// The program that it runs.
    pub entrypoint: Vec<String>,
    /// What is in it, folders before their content.
    pub entries: Vec<Entry>,
}

/// An image as a file.
#[derive(Debug)]
pub struct Archive {
    /// The image's name and tag.
    pub name: String,
    /// Changes with the image's content and configuration: the digest of the latter, which names the layer's.
    pub id: String,
    /// The file.
    pub bytes: Vec<u8>,
}

/// Something in an image. Paths have no leading slash.
#[derive(Debug)]
pub enum Entry {
    /// A folder.
    Folder {
        /// Where it is.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// A regular file.
    File {
        /// Where it is.
        path: String,
        /// Its permissions.
        mode: u32,
        /// What it holds.
        content: Vec<u8>,
    },
    /// A symbolic link.
    Link {
        /// Where it is.
        path: String,
        /// What it leads to.
        target: String,
    },
}

/// The parts of an image, as a registry keeps them.
#[derive(Debug)]
pub struct Parts {
    /// The one layer: a tar.
    pub layer: Vec<u8>,
    /// The configuration: JSON that names the layer's digest.
    pub config: Vec<u8>,
}

impl Image {
    /// An image that holds one static program, which it runs.
    pub fn of_program(name: &str, program: &str, content: Vec<u8>) -> Self {
        Self {
            name: name.to_owned(),
            user: USER.to_owned(),
            environment: Vec::new(),
            entrypoint: vec![format!("/{program}")],
            entries: vec![file(program, 0o755, content)],
        }
    }

    /// Makes the whole archive, for machines of an architecture as Kubernetes names it.
    ///
    /// # Errors
    ///
    /// Where an entry cannot stand in a tar, for example as its path is too long.
    pub fn to_archive(&self, architecture: &str) -> io::Result<Archive> {
        let Parts { layer, config } = self.parts(architecture)?;
        let (id, layer_digest) = (digest(&config), digest(&layer));
        let (config_path, layer_path) = (format!("{id}.json"), format!("{layer_digest}.tar"));
        let manifest = json!([{"Config": config_path, "RepoTags": [self.name], "Layers": [layer_path]}]);
        let bytes = tar(&[
            file("manifest.json", 0o644, serde_json::to_vec(&manifest)?),
            file(&config_path, 0o644, config),
            file(&layer_path, 0o644, layer),
        ])?;
        Ok(Archive {
            name: self.name.clone(),
            id,
            bytes,
        })
    }

    /// Makes layer and configuration.
    ///
    /// # Errors
    ///
    /// As [`Self::to_archive`].
    pub fn parts(&self, architecture: &str) -> io::Result<Parts> {
        let layer = tar(&self.entries)?;
        let config = serde_json::to_vec(&self.config(architecture, &digest(&layer)))?;
        Ok(Parts { layer, config })
    }

    fn config(&self, architecture: &str, layer_digest: &str) -> Value {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
        let environment: Vec<_> = [&path].into_iter().chain(&self.environment).collect();
        json!({
            "architecture": architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "User": self.user,
                "Env": environment,
                "Entrypoint": self.entrypoint,
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "kinject"}],
        })
    }
}

/// A regular file of an image.
pub fn file(path: &str, mode: u32, content: Vec<u8>) -> Entry {
    Entry::File {
        path: path.to_owned(),
        mode,
        content,
    }
}

/// The SHA-256 of some bytes in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Compresses with gzip(1), without a time or a name.
///
/// # Errors
///
/// None that is known: nothing is written but memory.
pub fn gzip(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    encoder.finish()
}

fn tar(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_ustar();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        match entry {
            Entry::Folder { path, mode } => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(*mode);
                archive.append_data(&mut header, format!("{path}/"), &[][..])?;
            }
            Entry::File { path, mode, content } => {
                header.set_entry_type(EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(content.len() as u64);
                archive.append_data(&mut header, path, content.as_slice())?;
            }
            Entry::Link { path, target } => {
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                archive.append_link(&mut header, path, target)?;
            }
        }
    }
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    fn sample() -> Image {
        Image {
            name: "sample:1".to_owned(),
            user: "65532:65532".to_owned(),
            environment: Vec::new(),
            entrypoint: vec!["/program".to_owned()],
            entries: vec![
                Entry::Folder {
                    path: "bin".to_owned(),
                    mode: 0o755,
                },
                file("program", 0o755, b"\x7fELF".to_vec()),
                Entry::Link {
                    path: "bin/sh".to_owned(),
                    target: "/program".to_owned(),
                },
            ],
        }
    }

    /// The content of each file in a tar, and its headers' times and owners.
    fn unpack(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = ::tar::Archive::new(bytes);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 0);
            assert_eq!(
                (entry.header().uid().unwrap(), entry.header().gid().unwrap()),
                (0, 0)
            );
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        });
        entries.collect()
    }

    #[test]
    fn same_image_gives_identical_archive_bytes() {
        let (one, other) = (
            sample().to_archive("amd64").unwrap(),
            sample().to_archive("amd64").unwrap(),
        );
        assert_eq!((one.bytes, one.id), (other.bytes, other.id));
    }

    #[test]
    fn different_content_gives_a_different_image_id() {
        let mut other = sample();
        other.entries.pop();
        assert_ne!(
            sample().to_archive("amd64").unwrap().id,
            other.to_archive("amd64").unwrap().id
        );
    }

    #[test]
    fn the_manifest_names_the_configuration_and_the_layer() {
        let files = unpack(&sample().to_archive("amd64").unwrap().bytes);
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"], json!(["sample:1"]));

        let config_bytes = &files[manifest[0]["Config"].as_str().unwrap()];
        assert_eq!(manifest[0]["Config"], format!("{}.json", digest(config_bytes)));
        let config: Value = serde_json::from_slice(config_bytes).unwrap();
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"], json!(["/program"]));
        assert_eq!(config["architecture"], "amd64");
        assert_eq!(config["os"], "linux");

        let layer = &files[manifest[0]["Layers"][0].as_str().unwrap()];
        assert_eq!(
            config["rootfs"]["diff_ids"],
            json!([format!("sha256:{}", digest(layer))])
        );
        let content = unpack(layer);
        assert_eq!(content.keys().collect::<Vec<_>>(), ["bin/", "bin/sh", "program"]);
        assert_eq!(content["program"], b"\x7fELF");
    }
}
