//! What several of the tests need.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kinject_sandbox::netns::pidfd;

/// How long anything may take before a test gives up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The program under test.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_kinject-sandbox"))
}

/// A sandbox without an agent, still to be started.
pub(crate) fn without_agent() -> kinject_sandbox::Builder {
    kinject_sandbox::Builder::new(program())
}

/// `kinject-sandbox up` with more arguments to come.
pub(crate) fn up() -> Command {
    let mut command = Command::new(program());
    command.arg("up");
    command
}

/// A process that is watched, so that its id means no other one.
pub(crate) struct Watched(std::os::fd::OwnedFd);

impl Watched {
    pub(crate) fn new(pid: u32) -> Self {
        Self(pidfd(pid).unwrap())
    }

    /// Waits until it has ended.
    pub(crate) fn ended(&self) {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one live pollfd is passed, and its count; the descriptor in it stays open meanwhile.
        let ready = unsafe { libc::poll(&raw mut poll, 1, DEADLINE.as_millis() as libc::c_int) };
        assert_eq!(ready, 1, "the process has not ended");
    }
}

pub(crate) fn send(pid: u32, signal: libc::c_int) {
    // SAFETY: takes no pointers; the process is one that the test has started.
    assert_eq!(unsafe { libc::kill(pid as libc::pid_t, signal) }, 0);
}

/// A stand-in for the agent, which reports to every connection how it was started.
pub(crate) fn stand_in_agent(folder: &Path) -> PathBuf {
    script(folder, "agent", include_str!("stand_in_agent.py"))
}

/// An executable script in `folder`.
pub(crate) fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}
