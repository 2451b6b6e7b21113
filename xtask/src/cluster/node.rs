//! The node as the machine sees it: its init process, which holds its namespaces; killing it kills every process of the
//! node.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::kubectl::Kubectl;
use super::state::State;
use super::{network, packages};
use crate::{hint, process};

/// The pid file of the node's init process: its PID, and its start time, which no later process with the same PID has.
pub(crate) const PID_FILE: &str = "node.pid";
/// The line on standard input by which the init process learns that the network is set up.
pub(crate) const GO: &[u8] = b"go\n";

/// Closes inherited descriptors and executes the program: the node must not keep a lock that `flock` holds for the
/// command that starts it.
const ALONE: &str = r#"exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; exec "$@""#;

/// A running node.
pub(crate) struct Node {
    pid: Pid,
    handle: OwnedFd,
}

impl Node {
    /// The node of the state folder's pid file, if it runs.
    pub(crate) fn running(state: &State) -> Result<Option<Self>> {
        let Some(text) = state.read(PID_FILE)? else {
            return Ok(None);
        };
        let (pid, start) = text
            .trim()
            .split_once(' ')
            .with_context(|| format!("{PID_FILE} is broken: {text:?}"))?;
        let pid = Pid::from_raw(pid.parse()?).with_context(|| format!("{PID_FILE} is broken: {text:?}"))?;
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            handle => handle.context("opening the node's first process")?,
        };
        // The pidfd comes first: it stays with the process whose start time is read next.
        match start_time(&pid.as_raw_nonzero().to_string()) {
            Ok(found) if found == start => {
                let node = Self { pid, handle };
                // A process that has ended stays visible until its parent reaps it, which not every parent does.
                Ok(if node.is_gone(Duration::ZERO)? {
                    None
                } else {
                    Some(node)
                })
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("reading the node's start time"),
        }
    }

    /// Starts the node in namespaces of its own and connects it with the machine.
    pub(crate) fn start(state: &State) -> Result<Self> {
        let log = state.path("logs/node");
        fs::create_dir_all(state.path("logs"))?;
        let log_file = File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        let itself = std::env::current_exe().context("finding this program")?;
        // A session of its own: Ctrl-C and a closed terminal are not for the node. No environment: proxies
        // and the like are not for it either.
        let mut outer = Command::new("setsid")
            .args(["sh", "-c", ALONE, "node"])
            .args([
                "unshare",
                "--net",
                "--mount",
                "--pid",
                "--uts",
                "--ipc",
                "--fork",
                "--kill-child",
                "--",
            ])
            .arg(itself)
            .args(["cluster", "node"])
            .env_clear()
            .env("PATH", packages::PATH)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(log_file.try_clone()?)
            .stderr(log_file)
            .spawn()
            .context("cannot start `setsid`")?;
        let node = process::wait_for("the node's first process", Duration::from_secs(10), || {
            match (outer.try_wait()?, Self::running(state)?) {
                (None, node) => Ok(node),
                (Some(_), _) => Err(Self::ended(state)),
            }
        })?;
        network::connect(node.pid)?;
        let mut stdin = outer.stdin.take().context("the node has no standard input")?;
        stdin.write_all(GO).map_err(|_| Self::ended(state))?;
        Ok(node)
    }

    /// The number of its first process, as the machine sees it.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether its API server answers, or does so shortly.
    pub(crate) fn answers(&self, state: &State) -> bool {
        let ready = process::wait_for("the API server", Duration::from_secs(10), || {
            self.check(state)?;
            Ok(Kubectl::new(state).is_ready().then_some(()))
        });
        ready.is_ok()
    }

    /// Fails when the node is gone.
    pub(crate) fn check(&self, state: &State) -> Result<()> {
        if self.is_gone(Duration::ZERO)? {
            Err(Self::ended(state))
        } else {
            Ok(())
        }
    }

    /// Kills the init process, and waits until no process of the node is left.
    pub(crate) fn stop(self) -> Result<()> {
        match pidfd_send_signal(&self.handle, Signal::KILL) {
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            sent => sent.context("ending the node")?,
        }
        if !self.is_gone(Duration::from_secs(30))? {
            bail!(
                "the node's first process ({}) does not end",
                self.pid.as_raw_nonzero()
            );
        }
        Ok(())
    }

    /// Whether the init process has ended, or does so within the limit. The kernel lets it end last of all processes of
    /// its PID namespace.
    fn is_gone(&self, limit: Duration) -> Result<bool> {
        let limit = Timespec::try_from(limit)?;
        let mut handle = [PollFd::new(&self.handle, PollFlags::IN)];
        Ok(poll(&mut handle, Some(&limit)).context("waiting for the node's end")? > 0)
    }

    fn ended(state: &State) -> anyhow::Error {
        let said = state.read("logs/node").ok().flatten().unwrap_or_default();
        let last = said.lines().last().unwrap_or("it said nothing").to_owned();
        hint::error(
            format!("the node ended: {last}"),
            format!("the logs of its programs are in {}", state.path("logs").display()),
        )
    }
}

/// The start time of a process, in clock ticks since boot; `self` is the calling process.
pub(crate) fn start_time(pid: &str) -> std::io::Result<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name, in parentheses, may hold anything; the 22nd field is the 20th behind it.
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    behind_name
        .split_whitespace()
        .nth(19)
        .map(str::to_owned)
        .ok_or_else(|| ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::temporary;
    use super::*;

    /// The node of a state folder whose pid file has that text.
    fn node_of(text: &str) -> Result<Option<Node>> {
        let (state, _folder) = temporary();
        state.write(PID_FILE, text)?;
        Node::running(&state)
    }

    #[test]
    fn node_is_identified_by_pid_and_start_time() {
        let (pid, start) = (std::process::id(), start_time("self").unwrap());
        assert!(node_of(&format!("{pid} {start}\n")).unwrap().is_some());
        assert!(node_of(&format!("{pid} {start}0\n")).unwrap().is_none());
    }

    #[test]
    fn missing_pid_file_means_no_node() {
        let (state, _folder) = temporary();
        assert!(Node::running(&state).unwrap().is_none());
    }

    #[test]
    fn zombie_process_is_not_a_node() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let text = format!(
            "{} {}\n",
            child.id(),
            start_time(&child.id().to_string()).unwrap()
        );
        assert!(node_of(&text).unwrap().is_some());
        drop(child.stdin.take());
        let gone = || Ok(node_of(&text)?.is_none().then_some(()));
        process::wait_for("the end of cat", Duration::from_secs(10), gone).unwrap();
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn malformed_pid_file_is_an_error() {
        assert!(node_of("nonsense").is_err());
    }
}
