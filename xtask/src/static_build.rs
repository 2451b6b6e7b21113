//! Builds the workspace's programs so that they run in an empty image: release, statically linked.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::elf::Elf;
use crate::{cargo, process, workspace};

/// Builds the binary of that name, and returns where it is.
///
/// The target folder is one of its own: other flags in the shared one would build everything twice over, and
/// `--target` keeps the flags away from build scripts and procedural macros, which cannot be static.
pub(crate) fn binary(package: &str) -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let folder = workspace::target().join("static");
    process::visible(
        cargo::command()
            .args([
                "build",
                "--quiet",
                "--release",
                "--package",
                package,
                "--bin",
                package,
            ])
            .args(["--target", &target, "--target-dir"])
            .arg(&folder)
            .env("RUSTFLAGS", "-C target-feature=+crt-static"),
    )
    .with_context(|| format!("building {package}"))?;
    let binary = folder.join(target).join("release").join(package);
    check(&binary)?;
    Ok(binary)
}

/// Fails unless the binary runs in an empty image.
pub(crate) fn check(binary: &Path) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("reading {}", binary.display()))?;
    if Elf::parse(&bytes)?.has_interpreter {
        bail!("{} is not statically linked", binary.display());
    }
    Ok(())
}
