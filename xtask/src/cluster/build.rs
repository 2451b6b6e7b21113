//! Builds `tests/cluster`, the Go module that holds every program of the node in one binary.
//!
//! The build is skipped when the fingerprint beside the binary matches its inputs: even with a full cache Go
//! takes seconds to find out that there is nothing to do.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{archive, hint, process, workspace};

/// The version that the programs report; `go.mod` has the same.
const KUBERNETES: (&str, &str, &str) = ("v1.34.4", "1", "34");

/// The binary and what it was made from.
pub(crate) struct Programs {
    pub(crate) binary: PathBuf,
    pub(crate) fingerprint: String,
}

pub(crate) fn programs() -> Result<Programs> {
    let source = workspace::root().join("tests/cluster");
    let folder = workspace::target().join("cluster");
    let (binary, stamp) = (folder.join("cluster"), folder.join("fingerprint"));
    let flags = flags();

    let mut inputs = flags.join(" ").into_bytes();
    for file in ["go.mod", "go.sum", "main.go"] {
        let path = source.join(file);
        inputs.extend(fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
    }
    let fingerprint = archive::digest(&inputs);
    if binary.exists() && fs::read_to_string(&stamp).is_ok_and(|built| built == fingerprint) {
        return Ok(Programs { binary, fingerprint });
    }

    let go = process::output(Command::new("go").arg("version")).map_err(|error| {
        hint::error(
            format!("Kubernetes is built with Go: {error:#}"),
            "install Go 1.24 or newer (https://go.dev/dl) and put it on PATH; with sudo, keep PATH",
        )
    })?;
    eprintln!(
        "building Kubernetes with {} (minutes the first time, then cached)",
        go.trim()
    );
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    process::visible(
        Command::new("go")
            .current_dir(&source)
            .arg("build")
            .args(&flags)
            .arg("-o")
            .arg(&binary)
            .arg(".")
            .env("CGO_ENABLED", "0"),
    )?;
    fs::write(&stamp, &fingerprint).with_context(|| format!("writing {}", stamp.display()))?;
    Ok(Programs { binary, fingerprint })
}

fn flags() -> [String; 3] {
    let (version, major, minor) = KUBERNETES;
    let package = "k8s.io/component-base/version";
    [
        "-trimpath".to_owned(),
        "-ldflags".to_owned(),
        format!(
            "-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
        ),
    ]
}
