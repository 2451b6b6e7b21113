//! The demo's sandbox: `kinject-sandbox up` as a child process that ends with this one.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::{hint, workspace};

/// A sandbox that ends with this value.
pub(crate) struct Sandbox {
    /// Where its agent listens.
    pub(crate) socket: PathBuf,
    /// The agent's key.
    pub(crate) key: PathBuf,
    /// What there is to connect to.
    pub(crate) names: BTreeMap<String, Vec<Ipv4Addr>>,
    log: PathBuf,
    child: Child,
}

impl Sandbox {
    /// Starts the sandbox with the agent, both from `folder`, and waits until everything in it answers.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let log = workspace::target().join(format!("demo-{}.log", std::process::id()));
        let errors = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(folder.join("kinject-sandbox"));
        command
            .arg("up")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors);
        // The sandbox's folder stands unquoted in shell command lines, so its path must have no blanks.
        for name in ["XDG_RUNTIME_DIR", "TMPDIR"] {
            if env::var(name).is_ok_and(|folder| !folder.bytes().all(is_plain)) {
                command.env_remove(name);
            }
        }
        let mut child = command.spawn().context("cannot start kinject-sandbox")?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output)
                .read_line(&mut line)
                .context("cannot hear the sandbox")?;
        }
        let mut sandbox = Self {
            socket: PathBuf::new(),
            key: PathBuf::new(),
            names: BTreeMap::new(),
            log,
            child,
        };
        if line.is_empty() {
            return Err(why(&sandbox.log()?));
        }
        let ready: Value = serde_json::from_str(&line).context("the sandbox said something unexpected")?;
        sandbox.socket = path(&ready, "socket")?;
        sandbox.key = path(&ready, "key")?;
        sandbox.names = serde_json::from_value(ready["names"].clone()).context("the sandbox has no names")?;
        Ok(sandbox)
    }

    /// Its and its agent's standard error.
    pub(crate) fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| format!("cannot read {}", self.log.display()))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The end of its standard input ends it; it bounds its own end.
        drop(self.child.stdin.take());
        if let Err(error) = self.child.wait() {
            eprintln!("cannot wait for the sandbox: {error}");
        }
        if let Err(error) = fs::remove_file(&self.log) {
            eprintln!("cannot remove {}: {error}", self.log.display());
        }
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte)
}

fn path(ready: &Value, name: &str) -> Result<PathBuf> {
    let path = ready[name].as_str();
    path.map(PathBuf::from)
        .with_context(|| format!("the sandbox did not say its {name}"))
}

/// The error and the hint in what a sandbox wrote before it ended.
fn why(log: &str) -> anyhow::Error {
    let said = log
        .lines()
        .find_map(|line| line.strip_prefix("kinject-sandbox: error: "))
        .unwrap_or("it did not say why");
    let message = format!("the sandbox did not come up: {said}");
    match log.lines().find_map(|line| line.strip_prefix("hint: ")) {
        Some(hint) => hint::error(message, hint),
        None => anyhow!(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_sandbox_is_an_error_with_a_hint() {
        let log = "kinject-sandbox: error: cannot make a user and network namespace: unshare: not permitted\n\n\
                   hint: allow it with: sudo sysctl kernel.unprivileged_userns_clone=1\n";
        let error = why(log);
        assert_eq!(
            error.to_string(),
            "the sandbox did not come up: cannot make a user and network namespace: unshare: not permitted"
        );
        assert_eq!(
            hint::of(&error),
            Some("allow it with: sudo sysctl kernel.unprivileged_userns_clone=1")
        );
        assert_eq!(
            why("").to_string(),
            "the sandbox did not come up: it did not say why"
        );
    }
}
