//! A kinject session to put load on.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::helper::Helper;
use super::load::Variables;
use super::programs::Programs;

/// What a session sets.
const VARIABLES: [&str; 2] = ["LD_PRELOAD", "KINJECT_"];

/// A session that ends with this value.
pub(crate) struct Session {
    launcher: Helper,
    relay: u32,
    variables: Variables,
    started_in: Duration,
}

impl Session {
    /// Starts `kinject run OPTIONS` with a program that only waits; `enter` makes a command in the right namespaces,
    /// and `folder` is for the session's log.
    pub(crate) fn start(
        programs: &Programs,
        folder: &Path,
        enter: impl Fn(&str) -> Command,
        options: &[&str],
    ) -> Result<Self> {
        let runtime = folder.join("run");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&runtime)
            .with_context(|| format!("making {}", runtime.display()))?;
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700))?;
        let mut command = enter("env");
        command
            .arg(format!("XDG_RUNTIME_DIR={}", runtime.display()))
            .arg(programs.launcher())
            .args(["run", "--quiet"])
            .args(options)
            .arg("--")
            .arg(programs.load())
            .arg("hold");
        let start = Instant::now();
        let mut launcher = Helper::start("kinject run", &mut command)?;
        let line = launcher.line()?;
        let started_in = start.elapsed();
        let reported: Value = serde_json::from_str(&line).context("reading a session's environment")?;
        let variables = reported["environment"]
            .as_object()
            .context("a session without an environment")?
            .iter()
            .filter(|(name, _)| VARIABLES.iter().any(|prefix| name.starts_with(prefix)))
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        let relay = child_named(launcher.pid(), "kinject-relay")?.context("the session has no relay")?;
        Ok(Self {
            launcher,
            relay,
            variables,
            started_in,
        })
    }

    /// The environment of its programs.
    pub(crate) fn variables(&self) -> &Variables {
        &self.variables
    }

    /// From the start of the launcher to the first line of its program.
    pub(crate) fn started_in(&self) -> Duration {
        self.started_in
    }

    /// The relay's process.
    pub(crate) fn relay(&self) -> u32 {
        self.relay
    }

    /// Ends the session and waits until it has taken itself down.
    pub(crate) fn finish(self) -> Result<()> {
        self.launcher.finish()
    }
}

/// Resident memory of a process, in KiB.
pub(crate) fn resident_kib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse().ok())
        .with_context(|| format!("no VmRSS in {path}"))
}

fn child_named(parent: u32, name: &str) -> Result<Option<u32>> {
    for entry in fs::read_dir("/proc").context("reading /proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse().ok()) else {
            continue;
        };
        // Processes come and go while /proc is read.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        if stat_fields(&stat) == Some((name, parent)) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

/// Name and parent in `/proc/PID/stat`.
fn stat_fields(stat: &str) -> Option<(&str, u32)> {
    let (_, rest) = stat.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    let parent = rest.split_whitespace().nth(1)?;
    Some((name, parent.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_name_with_a_bracket_is_parsed() {
        assert_eq!(stat_fields("7 (a ) b) S 3 7 7"), Some(("a ) b", 3)));
        assert_eq!(stat_fields("7"), None);
    }

    #[test]
    fn own_process_has_resident_memory_and_a_parent() {
        assert!(resident_kib(std::process::id()).unwrap() > 100.0);
        let parent = fs::read_to_string("/proc/self/stat").unwrap();
        let (name, parent) = stat_fields(&parent).unwrap();
        assert!(child_named(parent, name).unwrap().is_some());
    }
}
