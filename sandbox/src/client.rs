//! A sandbox for a test or a tool: started by [`Sandbox::start`], ended by dropping it.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::netns::pidfd;
use crate::up::Ready;

/// How long a sandbox may take to end.
const STOP: Duration = Duration::from_secs(10);

/// A sandbox did not start. The reason is on its standard error, which is the caller's.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program could not be run.
    #[error("cannot run {}", .program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("the sandbox did not come up: {0}")]
    Ended(ExitStatus),
    /// Its ready line cannot be parsed.
    #[error("the sandbox said something unexpected")]
    Unexpected(#[from] serde_json::Error),
    /// Its output could not be read.
    #[error("cannot read from the sandbox")]
    Read(#[from] io::Error),
}

/// What a sandbox is started with.
#[derive(Debug)]
pub struct Builder {
    program: PathBuf,
    command: Command,
}

/// A sandbox that is up.
#[derive(Debug)]
pub struct Sandbox {
    /// The agent's socket.
    pub socket: PathBuf,
    /// The agent's key.
    pub key: PathBuf,
    /// The rest of its ready line.
    pub ready: Ready,
    program: PathBuf,
    child: Child,
}

impl Builder {
    /// A sandbox by `program`, the path of `kinject-sandbox`, without an agent.
    pub fn new(program: &Path) -> Self {
        let mut command = Command::new(program);
        command.arg("up").stdin(Stdio::piped()).stdout(Stdio::piped());
        Self {
            program: program.to_owned(),
            command,
        }
    }

    /// With the agent `program`.
    pub fn agent(self, program: &Path) -> Self {
        self.option("--agent", program)
    }

    /// With the agent's socket at `path`.
    pub fn socket(self, path: &Path) -> Self {
        self.option("--socket", path)
    }

    /// With the agent's key in `path`.
    pub fn key(self, path: &Path) -> Self {
        self.option("--key", path)
    }

    /// Starts it and waits until everything in it answers.
    pub fn start(mut self) -> Result<Sandbox, StartError> {
        if !self.command.get_args().any(|argument| argument == "--agent") {
            self.command.arg("--no-agent");
        }
        let spawned = self.command.spawn();
        let mut child = spawned.map_err(|source| StartError::Spawn {
            program: self.program.clone(),
            source,
        })?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        if line.is_empty() {
            return Err(StartError::Ended(child.wait()?));
        }
        let ready: Ready = serde_json::from_str(&line)?;
        let (socket, key) = (ready.socket.clone(), ready.key.clone());
        Ok(Sandbox {
            socket,
            key,
            ready,
            program: self.program,
            child,
        })
    }

    fn option(mut self, name: &str, value: &Path) -> Self {
        self.command.arg(name).arg(value);
        self
    }
}

impl Sandbox {
    /// Starts a sandbox by `program`, the path of `kinject-sandbox`, with the agent `agent`.
    pub fn start(program: &Path, agent: &Path) -> Result<Self, StartError> {
        Builder::new(program).agent(agent).start()
    }

    /// A command that runs `program` bare inside of the sandbox, as in a pod of the cluster.
    pub fn enter(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["enter", "--pid", &self.ready.pid.to_string(), "--"])
            .arg(program);
        command
    }

    /// The process of `kinject-sandbox up`.
    pub fn supervisor(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if !ended_within(self.child.id(), STOP)
            && let Err(error) = self.child.kill()
        {
            eprintln!("cannot end the sandbox: {error}");
        }
        if let Err(error) = self.child.wait() {
            eprintln!("cannot wait for the sandbox: {error}");
        }
    }
}

fn ended_within(pid: u32, limit: Duration) -> bool {
    let Ok(process) = pidfd(pid) else { return false };
    let mut poll = libc::pollfd {
        fd: process.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let limit = libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: one live pollfd is passed, and its count; the descriptor in it stays open meanwhile.
    unsafe { libc::poll(&raw mut poll, 1, limit) == 1 }
}
