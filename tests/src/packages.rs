//! Packages from PyPI, in a virtual environment of the tests' own, and from npm, in a folder of their own.

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

    /// Where a package lies that bears the name of what is imported.
    pub fn folder_of(&self, package: &str) -> Option<PathBuf> {
        let mut asked = Command::new(self.program());
        asked.args([
            "-c",
            "import importlib.util as u, sys; print(*u.find_spec(sys.argv[1]).submodule_search_locations)",
        ]);
        let said = asked.arg(package).output().ok()?;
        said.status
            .success()
            .then(|| PathBuf::from(String::from_utf8_lossy(&said.stdout).trim()))
    }

    fn has(&self, package: &str) -> bool {
        self.version(package).is_some()
    }
}

/// Programs that come as packages from npm, of which what is missing is installed.
#[derive(Debug)]
pub struct Npm {
    folder: PathBuf,
    /// Why something may be missing.
    failure: Option<String>,
}

impl Npm {
    /// Makes or finds the folder.
    pub fn with(packages: &[&str]) -> Self {
        let mut npm = Self {
            folder: proofs::folder().join("npm"),
            failure: None,
        };
        let missing: Vec<&str> = packages
            .iter()
            .copied()
            .filter(|package| !npm.place(package).exists())
            .collect();
        if !missing.is_empty() {
            let mut install = Command::new("npm");
            install.args(["install", "--silent", "--prefix"]).arg(&npm.folder);
            npm.failure = succeed(install.args(missing))
                .err()
                .map(|error| format!("{error:#}"));
        }
        npm
    }

    /// The program that bears its package's name, or why it is not here.
    pub fn program(&self, package: &str) -> Result<PathBuf, String> {
        let place = self.place(package);
        match place.exists() {
            true => Ok(place),
            false => Err(format!(
                "not installed: {}",
                self.failure.as_deref().unwrap_or(package)
            )),
        }
    }

    fn place(&self, package: &str) -> PathBuf {
        self.folder.join("node_modules/.bin").join(package)
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
