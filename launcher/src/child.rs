//! The program as the launcher's child.

use crate::exit::Status;
use crate::inherited;
use crossbeam_channel::Sender;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A change of the program's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It ended.
    Ended(Status),
    /// It was stopped, by Ctrl-Z or otherwise.
    Stopped,
}

/// A running program.
pub(crate) struct Child {
    pid: Pid,
}

impl Child {
    /// Starts it. The kernel sends it `parent_death_signal` when the launcher dies, since whoever kills kinject means
    /// to kill the program.
    pub(crate) fn start<T: Send + 'static>(
        mut command: Command,
        parent_death_signal: Signal,
        channel: Sender<T>,
        wrap: impl Fn(Change) -> T + Send + 'static,
    ) -> io::Result<Self> {
        let launcher = rustix::process::getpid();
        let prepare = move || {
            end_with(launcher, parent_death_signal)?;
            inherited::restore()
        };
        // SAFETY: between fork and exec this makes a few system calls and touches no memory but its own stack
        unsafe { command.pre_exec(prepare) };
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        std::thread::spawn(move || follow(pid, &channel, wrap));
        Ok(Self { pid })
    }

    /// Passes a signal on.
    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: kill has no preconditions; the child is not reaped before its end was reported
        let _gone = unsafe { libc::kill(self.pid.as_raw_nonzero().get(), signal) } != 0;
    }
}

/// In a child between fork and exec: has the kernel send it a signal when the launcher's thread that started it dies.
pub(crate) fn end_with(launcher: Pid, signal: Signal) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(signal))?;
    // the launcher may have died before the line above
    if rustix::process::getppid() != Some(launcher) {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(())
}

fn follow<T>(pid: Pid, channel: &Sender<T>, wrap: impl Fn(Change) -> T) {
    loop {
        let change = match rustix::process::waitpid(Some(pid), WaitOptions::UNTRACED) {
            Ok(Some((_, status))) => match change(status) {
                Some(change) => change,
                None => continue,
            },
            Ok(None) | Err(rustix::io::Errno::INTR) => continue,
            // only this thread waits for the child, so this cannot fail
            Err(_) => Change::Ended(Status::Kinject),
        };
        let ended = matches!(change, Change::Ended(_));
        if channel.send(wrap(change)).is_err() || ended {
            return;
        }
    }
}

fn change(status: WaitStatus) -> Option<Change> {
    if let Some(code) = status.exit_status() {
        return Some(Change::Ended(Status::Exited(code as u8)));
    }
    if let Some(signal) = status.terminating_signal() {
        return Some(Change::Ended(Status::Killed(signal as u8)));
    }
    status.stopped().then_some(Change::Stopped)
}
