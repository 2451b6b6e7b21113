//! An unprivileged user: the one that runs the tests, or another one if that is root.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::geteuid;
use tempfile::TempDir;

use crate::programs::Program;
use crate::session::eventually;
use crate::{binaries, skip};

/// How long an agent may take to listen.
const START: Duration = Duration::from_secs(10);

/// The user and the group that root becomes.
const NOBODY: u32 = 65534;

/// The user and the group to become; `None` where the tests run unprivileged already.
pub fn user() -> Option<(u32, u32)> {
    geteuid().is_root().then_some((NOBODY, NOBODY))
}

/// A program that runs as that user.
pub fn program(program: &Program) -> Program {
    let Some((user, group)) = user() else {
        return program.clone();
    };
    Program::new("/usr/bin/setpriv")
        .args([
            format!("--reuid={user}"),
            format!("--regid={group}"),
            "--clear-groups".to_owned(),
        ])
        .arg(&program.path)
        .args(program.arguments.clone())
}

/// A folder that the user owns.
pub fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    if let Some((user, group)) = user() {
        chown(folder.path(), Some(user), Some(group)).expect("root may give a folder away");
    }
    folder
}

/// Whether the tests may read a relay's descriptors, which only root can; notes it if not.
pub fn may_look_into_relays() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        skip::not_run("what a relay has open", "looking into a relay needs root");
    }
    is_root
}

/// An agent of the user's own that is started by hand in this machine's network.
#[derive(Debug)]
pub struct Agent {
    process: Child,
    folder: TempDir,
}

impl Agent {
    /// Starts one that reports this resolver configuration.
    pub fn start(resolv_conf: &str) -> Self {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("key"), [7; 32]).expect("a new folder can be written to");
        // a key file that others can read is refused
        fs::set_permissions(path("key"), Permissions::from_mode(0o600)).expect("it is our own");
        if let Some((user, group)) = user() {
            chown(path("key"), Some(user), Some(group)).expect("root may give a file away");
        }
        fs::write(path("resolv.conf"), resolv_conf).expect("a new folder can be written to");
        let socket = path("agent.sock");
        let agent = Program::new(binaries::path("kinject-agent"))
            .args(["--listen", &format!("unix:{}", socket.display()), "--key"])
            .arg(path("key"))
            .arg("--resolv-conf")
            .arg(path("resolv.conf"));
        let process = program(&agent)
            .command()
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let agent = Self {
            process: process.unwrap_or_else(|error| panic!("cannot start the agent: {error}")),
            folder,
        };
        eventually("an agent that listens", START, || socket.exists());
        agent
    }

    /// `kinject run` by the user, with a session to the agent.
    pub fn kinject(&self, injected: &Program) -> Command {
        let path = |name: &str| -> PathBuf { self.folder.path().join(name) };
        let kinject = Program::new(binaries::kinject())
            .args(["run", "--agent"])
            .arg(format!("unix:{}", path("agent.sock").display()))
            .arg("--agent-key")
            .arg(path("key"))
            .arg("--")
            .arg(&injected.path)
            .args(injected.arguments.clone());
        program(&kinject).command()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // it may have ended by itself
        let _gone = self.process.kill().is_err();
        let _reaped = self.process.wait().is_ok();
    }
}
