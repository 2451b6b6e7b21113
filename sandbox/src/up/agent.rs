//! The agent inside of the sandbox: started as a pod would start it, and started again when it ends.
//!
//! In a cluster a session makes a new agent when its own is gone; here the sandbox does that, so that a test can kill
//! an agent and watch the session reconnect. An agent that repeatedly exits at once ends the sandbox.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, interval, timeout};

use super::plan::Plan;
use crate::netns;

/// How long an agent may take until it listens.
const START: Duration = Duration::from_secs(10);

/// How often it is asked whether it listens: a socket that another process binds announces nothing.
const ASK: Duration = Duration::from_millis(2);

/// The flag of a listening socket in /proc/net/unix.
const LISTENING: &[u8] = b"00010000";

/// An agent that lived for less than this did not work.
const WORKED: Duration = Duration::from_secs(1);

/// How often in a row that may happen.
const ATTEMPTS: u32 = 3;

/// How long it may take to end after SIGTERM.
const STOP: Duration = Duration::from_secs(2);

/// The agent does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum AgentFailure {
    #[error("cannot start the agent {}", .program.display())]
    Spawn { program: PathBuf, source: io::Error },
    #[error("the agent ended before it listened: {0}")]
    EndedEarly(ExitStatus),
    #[error("the agent did not listen within {} s", START.as_secs())]
    Deaf,
    #[error("the agent ended {ATTEMPTS} times in a row within a second: {0}")]
    KeepsEnding(ExitStatus),
    #[error("cannot wait for the agent")]
    Wait(#[source] io::Error),
}

/// A running agent.
pub(super) struct Agent {
    child: Child,
    started: Instant,
    /// How many before this one ended at once.
    failed_before: u32,
}

impl Agent {
    /// Starts `program` and waits until it listens.
    pub(super) async fn start(plan: &Plan, program: &Path, resolv_conf: &Path) -> Result<Self, AgentFailure> {
        let mut listen = std::ffi::OsString::from("unix:");
        listen.push(&plan.socket);
        let mut command = Command::new(program);
        command
            .arg("--listen")
            .arg(listen)
            .arg("--key")
            .arg(&plan.key)
            .arg("--resolv-conf")
            .arg(resolv_conf)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let parent = std::process::id() as libc::pid_t;
        // SAFETY: both functions make system calls only, which is all that is allowed between fork and exec.
        unsafe {
            command.pre_exec(move || {
                netns::confine()?;
                netns::die_with_parent(parent)
            });
        }
        let child = command.spawn().map_err(|source| AgentFailure::Spawn {
            program: program.to_owned(),
            source,
        })?;
        let mut agent = Self {
            child,
            started: Instant::now(),
            failed_before: 0,
        };
        agent.wait_until_it_listens(plan).await?;
        Ok(agent)
    }

    /// Its process.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it ends and starts the next one, for ever. Cancel-safe except during a start.
    pub(super) async fn keep(&mut self, plan: &Plan, program: &Path, resolv_conf: &Path) -> AgentFailure {
        loop {
            let status = match self.child.wait().await {
                Ok(status) => status,
                Err(error) => return AgentFailure::Wait(error),
            };
            let failed = if self.started.elapsed() < WORKED {
                self.failed_before + 1
            } else {
                0
            };
            if failed == ATTEMPTS {
                return AgentFailure::KeepsEnding(status);
            }
            eprintln!("kinject-sandbox: the agent ended ({status}), starting another");
            match Self::start(plan, program, resolv_conf).await {
                Ok(next) => {
                    *self = Self {
                        failed_before: failed,
                        ..next
                    }
                }
                Err(failure) => return failure,
            }
        }
    }

    /// Ends it: with SIGTERM if that suffices.
    pub(super) async fn stop(mut self) -> io::Result<()> {
        if let Some(pid) = self.child.id() {
            // SAFETY: the child has not been waited for, so this is still its process id.
            unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) };
        }
        match timeout(STOP, self.child.wait()).await {
            Ok(ended) => ended.map(drop),
            Err(_) => self.child.kill().await,
        }
    }

    async fn wait_until_it_listens(&mut self, plan: &Plan) -> Result<(), AgentFailure> {
        let listens = async {
            let mut ask = interval(ASK);
            while !is_listened_on(&plan.socket)? {
                ask.tick().await;
            }
            Ok(())
        };
        tokio::select! {
            outcome = timeout(START, listens) => match outcome {
                Ok(listens) => listens.map_err(AgentFailure::Wait),
                Err(_) => Err(AgentFailure::Deaf),
            },
            ended = self.child.wait() => match ended {
                Ok(status) => Err(AgentFailure::EndedEarly(status)),
                Err(error) => Err(AgentFailure::Wait(error)),
            },
        }
    }
}

/// Whether a Unix socket of this network namespace is listened on, by the kernel's own list: the agent would have to
/// refuse a connection made only as a test.
fn is_listened_on(socket: &Path) -> io::Result<bool> {
    let list = std::fs::read("/proc/self/net/unix")?;
    let wanted = socket.as_os_str().as_bytes();
    Ok(list.split(|byte| *byte == b'\n').any(|line| {
        let flags = line.split(|byte| *byte == b' ').nth(3);
        flags == Some(LISTENING) && line.ends_with(wanted)
    }))
}
