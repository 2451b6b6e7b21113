//! An agent without Kubernetes, and sessions with it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::helper::Helper;
use super::programs::{Programs, text};
use super::session::Session;
use crate::process;

/// How long it may take to listen.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A running agent; it ends with this value.
pub(crate) struct Agent {
    endpoint: String,
    folder: PathBuf,
    _process: Helper,
}

impl Agent {
    /// Starts it; `enter` makes a command in the right namespaces, `folder` is for its key and its log.
    pub(crate) fn start(
        programs: &Programs,
        endpoint: String,
        folder: &Path,
        enter: impl Fn(&str) -> Command,
    ) -> Result<Self> {
        let mut secret = [0; 32];
        let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut secret));
        read.context("making a key")?;
        let key = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(folder.join("agent.key"));
        key.and_then(|mut key| key.write_all(&secret))
            .context("writing a key")?;
        let log = folder.join("agent.log");
        let mut process = Helper::start(
            "the agent",
            enter(text(&programs.agent())?)
                .args(["--listen", &endpoint, "--key"])
                .arg(folder.join("agent.key"))
                .stderr(File::create(&log).context("making the agent's log")?),
        )?;
        process::wait_for("the agent", TIMEOUT, || {
            process.check()?;
            Ok(fs::read_to_string(&log)?.contains("listening on").then_some(()))
        })?;
        Ok(Self {
            endpoint,
            folder: folder.to_owned(),
            _process: process,
        })
    }

    /// A session with it.
    pub(crate) fn session(&self, programs: &Programs, enter: impl Fn(&str) -> Command) -> Result<Session> {
        let key = self.folder.join("agent.key");
        let options = ["--agent", &self.endpoint, "--agent-key", text(&key)?];
        Session::start(programs, &self.folder, enter, &options)
    }
}
