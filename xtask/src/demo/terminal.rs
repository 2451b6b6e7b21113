//! Runs a command line on a terminal of its own, so that programs print what they print for a person.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

/// No step takes longer, not even on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// How long a command may run after it has closed its terminal.
const LAST_STEPS: Duration = Duration::from_secs(5);

/// What a command line printed, and its exit status; none after a signal.
#[derive(Debug)]
pub(crate) struct Captured {
    /// Both standard streams, as they appeared.
    pub(crate) text: String,
    /// The exit status.
    pub(crate) status: Option<i32>,
    /// Whether it had to be ended.
    pub(crate) hung: bool,
}

/// The environment of the demo's command lines.
#[derive(Default)]
pub(crate) struct Terminal {
    set: Vec<(&'static str, String)>,
    unset: Vec<&'static str>,
}

impl Terminal {
    /// A terminal whose programs speak English, which the demo compares with.
    pub(crate) fn new() -> Self {
        let mut terminal = Self::default();
        terminal.set("LC_ALL", "C.UTF-8");
        terminal
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.set.push((name, value.to_owned()));
    }

    /// Removes a variable.
    pub(crate) fn unset(&mut self, name: &'static str) {
        self.unset.push(name);
    }

    /// Runs a line as an interactive shell would and waits for its end.
    pub(crate) fn run(&self, line: &str) -> Result<Captured> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).context("cannot open a terminal")?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, flags).context("cannot open a terminal's other end")?;
        let mut command = Command::new("bash");
        command
            .args(["-c", line])
            .stdin(Stdio::null())
            .stdout(slave.try_clone()?)
            .stderr(slave)
            .envs(self.set.iter().map(|(name, value)| (name, value)));
        for name in &self.unset {
            command.env_remove(name);
        }
        let mut child = command.spawn().context("cannot start bash")?;
        // it holds the terminal's other end, whose last close ends the output
        drop(command);
        let bytes = output(File::from(master))?;
        let status = ended(&mut child)?;
        let hung = status.is_none();
        if hung {
            child.kill()?;
            child.wait()?;
        }
        Ok(Captured {
            text: shown(&String::from_utf8_lossy(&bytes)),
            status: status.and_then(|status| status.code()),
            hung,
        })
    }
}

/// Everything that is written to a terminal until its slave end is closed, or until the time-out.
fn output(mut terminal: File) -> Result<Vec<u8>> {
    let deadline = Instant::now() + TIMEOUT;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left)?;
        let mut polled = [PollFd::from_borrowed_fd(terminal.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut polled, Some(&left)) {
            Ok(0) => return Ok(bytes),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error).context("cannot wait for output"),
        }
        match terminal.read(&mut chunk) {
            Ok(0) => return Ok(bytes),
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            // how Linux says that the other end is closed
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => return Ok(bytes),
            Err(error) => return Err(error).context("cannot read output"),
        }
    }
}

/// Waits for a command that has closed its terminal, and so is about to end.
fn ended(child: &mut Child) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + LAST_STEPS;
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(Some(status)),
            None if Instant::now() >= deadline => return Ok(None),
            None => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// The visible text: a line that was overwritten is dropped.
fn shown(written: &str) -> String {
    let lines = written.split_inclusive('\n').map(|line| {
        let line = line
            .strip_suffix("\r\n")
            .map_or(line.to_owned(), |line| format!("{line}\n"));
        match line.rsplit_once("\r\x1b[K") {
            Some((_, last)) => last.to_owned(),
            None => line,
        }
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_captures_both_streams_in_order_and_the_status() {
        let captured = Terminal::new()
            .run("echo one; echo two >&2; test -t 1 && echo terminal; exit 3")
            .unwrap();
        assert_eq!(captured.text, "one\ntwo\nterminal\n");
        assert_eq!(captured.status, Some(3));
    }

    #[test]
    fn overwritten_line_is_not_shown() {
        let written = "\r\x1b[Kkinject: starting...\r\x1b[Kkinject: connected\r\nhello\r\n";
        assert_eq!(shown(written), "kinject: connected\nhello\n");
    }

    #[test]
    fn variables_are_passed_to_the_command_line() {
        let mut terminal = Terminal::new();
        terminal.set("SANDBOX", "a b");
        terminal.unset("HOME");
        assert_eq!(terminal.run("echo $SANDBOX-$HOME").unwrap().text, "a b-\n");
    }
}
