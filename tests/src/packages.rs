//! Packages of Python from PyPI, in a virtual environment of the tests' own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{programs, proofs};

/// Python with packages from PyPI, of which what is missing is installed.
#[derive(Debug)]
pub struct Python {
    folder: PathBuf,
}

impl Python {
    /// Makes or finds the environment.
    pub fn with(packages: &[&str]) -> Result<Self> {
        let python = Self {
            folder: proofs::folder().join("venv"),
        };
        if !python.program().is_file() {
            let mut made = Command::new(programs::interpreter());
            succeed(made.args(["-m", "venv"]).arg(&python.folder))?;
        }
        let missing: Vec<&str> = packages
            .iter()
            .copied()
            .filter(|package| !python.has(package))
            .collect();
        if !missing.is_empty() {
            let mut pip = Command::new(python.program());
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
            succeed(pip.args(missing))?;
        }
        Ok(python)
    }

    /// The interpreter.
    pub fn program(&self) -> PathBuf {
        self.folder.join("bin/python")
    }

    /// The version of a package.
    pub fn version(&self, package: &str) -> Option<String> {
        let mut asked = Command::new(self.program());
        asked.args([
            "-c",
            "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))",
        ]);
        let said = asked
            .arg(package)
            .output()
            .ok()
            .filter(|said| said.status.success())?;
        Some(String::from_utf8_lossy(&said.stdout).trim().to_owned())
    }

    fn has(&self, package: &str) -> bool {
        self.version(package).is_some()
    }
}

/// Runs a command that builds something; its words stand in the error if it fails.
pub fn succeed(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let said = command.stdin(Stdio::null()).output();
    let said = said.with_context(|| format!("cannot start {name}"))?;
    if !said.status.success() {
        bail!(
            "{name} failed with {}: {}",
            said.status,
            String::from_utf8_lossy(&said.stderr).trim()
        );
    }
    Ok(())
}
