//! Container images as docker-archive files, made without a container engine.
//!
//! Such a file is a tar of a manifest, a configuration and one tar for each layer; `docker load`, `podman
//! load`, `kind load image-archive` and `ctr images import` all take it. The same content always gives the
//! same bytes: no times, no owners but root, entries in the order given.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// An image of one layer.
pub(crate) struct Image {
    /// Its name and tag.
    pub(crate) name: String,
    /// The numeric user and group that it runs as.
    pub(crate) user: String,
    /// The program that it runs.
    pub(crate) entrypoint: Vec<String>,
    /// What is in it, folders before their content.
    pub(crate) entries: Vec<Entry>,
}

/// An image as a file.
pub(crate) struct Archive {
    /// The image's name and tag.
    pub(crate) name: String,
    /// Changes with the image's content and configuration: the digest of the latter, which names the layer's.
    pub(crate) id: String,
    /// The file.
    pub(crate) bytes: Vec<u8>,
}

/// Something in an image. Paths have no leading slash.
pub(crate) enum Entry {
    /// A folder.
    Folder { path: String, mode: u32 },
    /// A regular file.
    File {
        path: String,
        mode: u32,
        content: Vec<u8>,
    },
    /// A symbolic link.
    Link { path: String, target: String },
}

impl Image {
    /// Makes the whole archive.
    pub(crate) fn to_archive(&self) -> Result<Archive> {
        let layer = tar(&self.entries)?;
        let layer_digest = digest(&layer);
        let config = serde_json::to_vec(&self.config(&layer_digest))?;
        let id = digest(&config);
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

    fn config(&self, layer_digest: &str) -> Value {
        json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "User": self.user,
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Entrypoint": self.entrypoint,
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask"}],
        })
    }
}

/// A regular file of an image.
pub(crate) fn file(path: &str, mode: u32, content: Vec<u8>) -> Entry {
    Entry::File {
        path: path.to_owned(),
        mode,
        content,
    }
}

/// The machine's architecture by the name that images use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The SHA-256 of some bytes in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn tar(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_ustar();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        let path = match entry {
            Entry::Folder { path, mode } => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(*mode);
                archive
                    .append_data(&mut header, format!("{path}/"), &[][..])
                    .map(|()| path)
            }
            Entry::File { path, mode, content } => {
                header.set_entry_type(EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(content.len().try_into()?);
                archive
                    .append_data(&mut header, path, content.as_slice())
                    .map(|()| path)
            }
            Entry::Link { path, target } => {
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                archive.append_link(&mut header, path, target).map(|()| path)
            }
        };
        path.context("writing a tar entry")?;
    }
    Ok(archive.into_inner()?)
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
        let (one, other) = (sample().to_archive().unwrap(), sample().to_archive().unwrap());
        assert_eq!((one.bytes, one.id), (other.bytes, other.id));
    }

    #[test]
    fn different_content_gives_a_different_image_id() {
        let mut other = sample();
        other.entries.pop();
        assert_ne!(sample().to_archive().unwrap().id, other.to_archive().unwrap().id);
    }

    #[test]
    fn the_manifest_names_the_configuration_and_the_layer() {
        let files = unpack(&sample().to_archive().unwrap().bytes);
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"], json!(["sample:1"]));

        let config_bytes = &files[manifest[0]["Config"].as_str().unwrap()];
        assert_eq!(manifest[0]["Config"], format!("{}.json", digest(config_bytes)));
        let config: Value = serde_json::from_slice(config_bytes).unwrap();
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"], json!(["/program"]));
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
