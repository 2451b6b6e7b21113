//! The release builds that are measured.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::archive::{self, Archive};
use crate::{cargo, image, process, static_build, workspace};

const AGENT: &str = "kinject-agent";

/// The packages: what a user runs, the sandbox, and the load generator.
const PACKAGES: [&str; 6] = [
    "kinject",
    "kinject-relay",
    "kinject-preload",
    AGENT,
    "kinject-sandbox",
    "kinject-load",
];

/// The folder of the programs.
pub(crate) struct Programs {
    folder: PathBuf,
    /// Whether they were built from this clone.
    built: bool,
}

impl Programs {
    /// Those in a folder.
    pub(crate) fn of(folder: &Path) -> Result<Self> {
        let folder = fs::canonicalize(folder).with_context(|| format!("looking at {}", folder.display()))?;
        Ok(Self { folder, built: false })
    }

    /// Builds them.
    pub(crate) fn build() -> Result<Self> {
        eprintln!("building for release");
        let mut cargo = cargo::command();
        cargo.args(["build", "--release", "--quiet"]);
        for package in PACKAGES {
            cargo.args(["--package", package]);
        }
        process::visible(&mut cargo)?;
        Ok(Self {
            folder: workspace::target().join("release"),
            built: true,
        })
    }

    pub(crate) fn launcher(&self) -> PathBuf {
        self.folder.join("kinject")
    }

    pub(crate) fn agent(&self) -> PathBuf {
        self.folder.join(AGENT)
    }

    /// An image of the agent: built from this clone, or from the program in the folder.
    pub(crate) fn agent_image(&self, name: &str) -> Result<Archive> {
        let image = if self.built {
            image::agent_named(name)?
        } else {
            static_build::check(&self.agent())?;
            image::holding(name, AGENT, &self.agent())?
        };
        archive::of(&image)
    }

    pub(crate) fn samples(&self) -> PathBuf {
        self.folder.join("kinject-sandbox")
    }

    pub(crate) fn load(&self) -> PathBuf {
        self.folder.join("kinject-load")
    }
}

/// Whether a program is in PATH or where administrators' programs are.
pub(crate) fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .any(|folder| folder.join(program).is_file())
}

/// A path as an argument; those of a benchmark's own folders are readable text.
pub(crate) fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| anyhow::anyhow!("{} is not readable text", path.display()))
}
