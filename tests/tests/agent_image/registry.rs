//! A registry to which kinject pushes, and what is in it afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::process::Command;

use kinject_tests::registry;
use kinject_tests::running::{Outcome, run};
use serde_json::Value;
use tempfile::TempDir;

/// A registry on this machine's loopback.
pub(crate) struct Registry {
    /// HOST:PORT.
    pub(crate) name: String,
    _server: registry::Registry,
}

impl Registry {
    /// None where Debian's registry is not installed.
    pub(crate) fn start(needs_login: bool) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let auth = match needs_login {
            true => registry::login(folder.path()),
            false => String::new(),
        };
        Self::start_with(folder, &auth)
    }

    /// One with more in its configuration, which ends with the section `http`.
    pub(crate) fn start_with(folder: TempDir, more: &str) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = free.local_addr().unwrap().to_string();
        drop(free);
        let server = registry::Registry::start(folder, &name, more, |program| Command::new(program))?;
        Some(Self {
            name,
            _server: server,
        })
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let outcome = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--header"])
            .arg(
                "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json",
            )
            .arg(format!("http://{}/v2/{path}", self.name))
            .output()
            .unwrap();
        assert!(
            outcome.status.success(),
            "{path}: {}",
            String::from_utf8_lossy(&outcome.stderr)
        );
        outcome.stdout
    }

    pub(crate) fn manifest(&self, reference: &str) -> Value {
        serde_json::from_slice(&self.get(&format!("agents/kinject/manifests/{reference}"))).unwrap()
    }

    /// The agent in the layer of an image, and for which architecture the image says it is.
    pub(crate) fn agent(&self, manifest: &Value) -> (String, Vec<u8>) {
        let blob = |descriptor: &Value| {
            self.get(&format!(
                "agents/kinject/blobs/{}",
                descriptor["digest"].as_str().unwrap()
            ))
        };
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        let layer = unpack(&["--gzip"], &blob(&manifest["layers"][0]));
        (
            config["architecture"].as_str().unwrap().to_owned(),
            layer["kinject-agent"].clone(),
        )
    }
}

/// The files in a tar.
pub(crate) fn unpack(options: &[&str], archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("archive");
    fs::write(&file, archive).unwrap();
    let files = folder.path().join("files");
    fs::create_dir(&files).unwrap();
    run(Command::new("tar")
        .arg("--extract")
        .args(options)
        .arg("--file")
        .arg(&file)
        .arg("--directory")
        .arg(&files))
    .succeeded();
    let entries = fs::read_dir(&files).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

/// The digest in what kinject prints of a pushed image.
pub(crate) fn pushed(outcome: &Outcome, registry: &Registry) -> String {
    let printed = outcome.succeeded().stdout.trim_end();
    let digest = printed.strip_prefix(&format!("{}/agents/kinject@", registry.name));
    digest.unwrap_or_else(|| panic!("{outcome}")).to_owned()
}
