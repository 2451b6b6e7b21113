//! The manifest for krew, kubectl's manager of plug-ins: with it `kubectl kinject` is kinject.

use std::path::Path;

use anyhow::Result;
use kinject_bundle::Architecture;
use serde_json::{Value, json};

use super::SUMMARY;
use super::licenses::THIRD_PARTY;
use super::tarball::Tarball;
use crate::workspace;

/// Writes the manifest into a folder: as JSON, which is YAML, too, and which serde_json quotes correctly.
pub(super) fn write(tarballs: &[(Architecture, Tarball)], url: &str, folder: &Path) -> Result<()> {
    let manifest = serde_json::to_vec_pretty(&manifest(tarballs, url))?;
    super::write(&folder.join("kinject.yaml"), &manifest)
}

fn manifest(tarballs: &[(Architecture, Tarball)], url: &str) -> Value {
    let platforms: Vec<Value> = tarballs
        .iter()
        .map(|(architecture, tarball)| {
            json!({
                "selector": {"matchLabels": {"os": "linux", "arch": architecture.kubernetes_name()}},
                "uri": format!("{}/{}", url.trim_end_matches('/'), tarball.name),
                "sha256": tarball.sha256,
                "files": [
                    {"from": format!("{}/bin/kinject", tarball.folder), "to": "kinject"},
                    {"from": format!("{}/share/doc/kinject/LICENSE-MIT", tarball.folder), "to": "LICENSE"},
                    {"from": format!("{}/share/doc/kinject/{THIRD_PARTY}", tarball.folder), "to": THIRD_PARTY},
                ],
                "bin": "kinject",
            })
        })
        .collect();
    json!({
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": "kinject"},
        "spec": {
            "version": format!("v{}", workspace::VERSION),
            "shortDescription": SUMMARY,
            "platforms": platforms,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_names_each_archive_with_architecture_url_and_checksum() {
        let tarball = Tarball {
            name: "kinject-1-aarch64-linux.tar.gz".to_owned(),
            folder: "kinject-1-aarch64-linux".to_owned(),
            sha256: "0123".to_owned(),
        };
        let manifest = manifest(&[(Architecture::Arm64, tarball)], "https://downloads.invalid/v1/");
        let platform = &manifest["spec"]["platforms"][0];
        assert_eq!(platform["selector"]["matchLabels"]["arch"], "arm64");
        assert_eq!(
            platform["uri"],
            "https://downloads.invalid/v1/kinject-1-aarch64-linux.tar.gz"
        );
        assert_eq!(platform["sha256"], "0123");
        assert_eq!(
            platform["files"][0]["from"],
            "kinject-1-aarch64-linux/bin/kinject"
        );
    }
}
