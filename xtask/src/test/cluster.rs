//! The real cluster during the tests: brought up unless it is up, and taken down again if it was not.
//!
//! `cargo xtask cluster` runs as a process of its own, from a copy of this program: cargo replaces this program's file
//! while the tests are built.

use std::cell::RefCell;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::output::Named;
use crate::workspace;

/// The cluster, starting or running.
pub(crate) struct Cluster {
    program: PathBuf,
    was_up: bool,
    coming_up: RefCell<Option<Named>>,
}

impl Cluster {
    /// Starts it, with the agent's image of this clone; or notes why that is not possible here.
    pub(crate) fn begin(folder: &Path) -> Result<Result<Self, String>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Err("they need root".to_owned()));
        }
        if !is_there("go") {
            return Ok(Err(
                "Kubernetes is built with Go, which is not on PATH (https://go.dev/dl)".to_owned(),
            ));
        }
        let program = folder.join("xtask");
        let itself = env::current_exe().context("finding this program")?;
        fs::copy(&itself, &program).with_context(|| format!("copying {}", itself.display()))?;

        let status = Command::new(&program)
            .args(["cluster", "status"])
            .output()
            .context("asking for the cluster")?;
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        let root = workspace::root().display().to_string();
        if let Some(owner) = owner(&status).filter(|owner| *owner != root) {
            return Ok(Err(format!(
                "another clone's cluster is up, {owner}; `cargo xtask cluster down --force` stops it"
            )));
        }
        let up = work(&program, "up")?;
        Ok(Ok(Self {
            program,
            was_up: owner(&status).is_some(),
            coming_up: RefCell::new(Some(up)),
        }))
    }

    /// Waits until it is up; whether it is.
    pub(crate) fn is_up(&self) -> Result<bool> {
        match self.coming_up.take() {
            Some(up) => Ok(up.wait().context("waiting for the cluster")?.success()),
            None => Ok(true),
        }
    }

    /// Takes it down if it was down before.
    pub(crate) fn end(self) -> Result<()> {
        self.is_up()?;
        if self.was_up {
            return Ok(());
        }
        ensure!(
            work(&self.program, "down")?.wait()?.success(),
            "the cluster is still up: `cargo xtask cluster down` stops it"
        );
        Ok(())
    }
}

fn work(program: &Path, task: &str) -> Result<Named> {
    let mut command = Command::new(program);
    command.args(["cluster", task]);
    Named::start("cluster", command).with_context(|| format!("cannot start `cluster {task}`"))
}

/// The clone that a running cluster belongs to, as `cargo xtask cluster status` says it.
fn owner(status: &str) -> Option<&str> {
    let first = status.lines().next()?;
    first.split_once(", started from ").map(|(_, owner)| owner)
}

fn is_there(program: &str) -> bool {
    Command::new(program)
        .arg("version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_owner_is_parsed_from_the_status_output() {
        assert_eq!(
            owner("up, started from /home/me/kinject\nkubeconfig: /x\n"),
            Some("/home/me/kinject")
        );
        assert_eq!(owner("starting or broken, started from /a"), Some("/a"));
        assert_eq!(owner("down\n"), None);
        assert_eq!(owner(""), None);
    }

    #[test]
    fn missing_program_is_not_found() {
        assert!(!is_there("/no/such/program"));
    }
}
