//! Packages from PyPI in a virtual environment, and from npm in a folder, both of the tests' own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{programs, proofs};

/// Python with packages from PyPI; missing packages are installed.
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
        let mut query = Command::new(self.program());
        query.args([
            "-c",
            "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))",
        ]);
        let output = query
            .arg(package)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The folder of a package that has the same name as its module.
    pub fn folder_of(&self, package: &str) -> Option<PathBuf> {
        let mut query = Command::new(self.program());
        query.args([
            "-c",
            "import importlib.util as u, sys; print(*u.find_spec(sys.argv[1]).submodule_search_locations)",
        ]);
        let output = query.arg(package).output().ok()?;
        output
            .status
            .success()
            .then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
    }

    fn has(&self, package: &str) -> bool {
        self.version(package).is_some()
    }
}

/// Programs from npm; missing packages are installed.
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
            .filter(|package| !npm.path(package).exists())
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

    /// The folder of libraries with a package in it, NAME@VERSION, for `NODE_PATH`.
    pub fn library(package: &str) -> Result<PathBuf> {
        let folder = proofs::folder().join(format!("npm-{}", package.replace(['@', '/'], "-")));
        let modules = folder.join("node_modules");
        if !modules.is_dir() {
            let mut install = Command::new("npm");
            install.args(["install", "--silent", "--prefix"]).arg(&folder);
            succeed(install.arg(package))?;
        }
        Ok(modules)
    }

    /// The program that has its package's name, or why it is missing.
    pub fn program(&self, package: &str) -> Result<PathBuf, String> {
        let path = self.path(package);
        match path.exists() {
            true => Ok(path),
            false => Err(format!(
                "not installed: {}",
                self.failure.as_deref().unwrap_or(package)
            )),
        }
    }

    fn path(&self, package: &str) -> PathBuf {
        self.folder.join("node_modules/.bin").join(package)
    }
}

/// Runs a build command; an error quotes its output.
pub fn succeed(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!(
            "{name} failed with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
