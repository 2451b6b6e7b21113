//! A background process that ends with its owner, however that ends.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::process;

/// How long a process may take to end by itself.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A command that the kernel kills when the thread that starts it ends (`PR_SET_PDEATHSIG`), without a process in
/// between.
pub(crate) fn tied(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// The same for a command with arguments and variables of its own.
pub(crate) fn tied_as(command: &Command) -> Command {
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "KILL", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(name, value),
            None => tied.env_remove(name),
        };
    }
    tied
}

/// A running process. Dropping it ends it.
pub(crate) struct Helper {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Helper {
    /// Starts it; `name` is for messages. Standard input and output are pipes, what it says on standard error is shown
    /// unless the command says otherwise.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        Self::spawn(name, command.stdout(Stdio::piped()))
    }

    /// Starts one whose output goes to a file.
    pub(crate) fn start_writing(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let output = File::create(log).with_context(|| format!("writing {}", log.display()))?;
        Self::spawn(name, command.stdout(output.try_clone()?).stderr(output))
    }

    fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            stdin: child.stdin.take(),
            stdout: child.stdout.take().map(BufReader::new),
            child,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its standard output, without the end of line.
    pub(crate) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if let Some(stdout) = &mut self.stdout {
            stdout
                .read_line(&mut line)
                .with_context(|| format!("hearing {}", self.name))?;
        }
        if line.is_empty() {
            bail!("{} ended too early", self.name);
        }
        Ok(line.trim_end().to_owned())
    }

    /// Writes to its standard input.
    pub(crate) fn tell(&mut self, words: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("its standard input is closed")?;
        std::io::Write::write_all(stdin, words.as_bytes()).with_context(|| format!("telling {}", self.name))
    }

    /// Fails when it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended: {status}", self.name),
            None => Ok(()),
        }
    }

    /// Closes its standard input, on which it ends, and waits for that.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.stdin = None;
        let status = process::wait_for(&format!("the end of {}", self.name), TIMEOUT, || {
            Ok(self.child.try_wait()?)
        })?;
        if !status.success() {
            bail!("{} failed with {status}", self.name);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let ended = process::wait_for("", TIMEOUT, || Ok(self.child.try_wait()?));
        if ended.is_err() {
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.stdin = None;
        if let Err(error) = self.end() {
            eprintln!("{} may still run: {error:#}", self.name);
        }
    }
}
