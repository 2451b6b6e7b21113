//! The load generator, and the environments that it runs in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::helper::Helper;
use crate::process;

/// Longer than any measurement takes on a machine that works.
const LIMIT: Duration = Duration::from_secs(90);

/// Environment variables.
pub(crate) type Variables = BTreeMap<String, String>;

/// Where and in what environment the load generator runs.
pub(crate) struct LoadGenerator<'a> {
    /// Makes a command for a program, in the right namespaces.
    pub(crate) enter: Box<dyn Fn(&str) -> Command + 'a>,
    /// LD_PRELOAD and the variables of the preloaded library.
    pub(crate) variables: Variables,
    /// The load generator.
    pub(crate) program: PathBuf,
}

impl<'a> LoadGenerator<'a> {
    /// Runs behind `enter`, with nothing preloaded.
    pub(crate) fn bare(program: &Path, enter: impl Fn(&str) -> Command + 'a) -> Self {
        Self::preloaded(program, enter, Variables::new())
    }

    /// The same with variables.
    pub(crate) fn preloaded(
        program: &Path,
        enter: impl Fn(&str) -> Command + 'a,
        variables: Variables,
    ) -> Self {
        Self {
            enter: Box::new(enter),
            variables,
            program: program.to_owned(),
        }
    }

    /// The load generator with these arguments. env(1) sets the variables, so that the commands of `enter` run without
    /// them.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = (self.enter)("env");
        for (name, value) in &self.variables {
            command.arg(format!("{name}={value}"));
        }
        command.arg(&self.program).args(arguments);
        command
    }

    /// Runs it and returns what it measured.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Value> {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting the load generator")?;
        let ended = process::wait_for(&format!("`{}`", arguments.join(" ")), LIMIT, || {
            Ok(child.try_wait()?)
        });
        if ended.is_err() {
            child.kill()?;
        }
        let output = child.wait_with_output()?;
        let status = ended?;
        if !status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("`{}` failed: {}", arguments.join(" "), stderr.trim());
        }
        serde_json::from_slice(&output.stdout).context("reading what was measured")
    }

    /// Runs it and returns one number of what it measured.
    pub(crate) fn number(&self, arguments: &[&str], key: &str) -> Result<f64> {
        let measured = self.run(arguments)?;
        number(&measured, key)
    }

    /// Starts it in the background.
    pub(crate) fn start(&self, name: &str, arguments: &[&str]) -> Result<Helper> {
        Helper::start(name, &mut self.command(arguments))
    }
}

/// A number of what was measured.
pub(crate) fn number(measured: &Value, key: &str) -> Result<f64> {
    measured[key]
        .as_f64()
        .with_context(|| format!("there is no `{key}` in {measured}"))
}
