//! How kinject ends: with env(1)'s statuses, and by the signal that ended its program.
//!
//! A shell stops its script, its loop or its list of commands at Ctrl-C only if the command that it waits for died of
//! SIGINT. One that exits with 130 has handled the signal, so the shell goes on. make(1), git(1) and others wait in the
//! same way. So kinject dies of the signal that its program died of.

use rustix::process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior, setrlimit};
use std::mem::MaybeUninit;
use std::process::ExitCode;

/// What `kinject` exits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// kinject itself failed: 125.
    Kinject,
    /// The command was found and could not be run: 126.
    CannotRun,
    /// The command was not found: 127.
    NotFound,
    /// The command's own exit status.
    Exited(u8),
    /// A signal ended the command, or kinject before there was one: kinject dies of it.
    Killed(u8),
}

impl Status {
    /// Ends this process by the signal that ended the command, otherwise returns the code to exit with.
    pub(crate) fn finish(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Kinject => 125,
            Self::CannotRun => 126,
            Self::NotFound => 127,
            Self::Exited(code) => code,
            Self::Killed(signal) => {
                die_of(signal.into());
                // as a shell reports it: the first process of a PID namespace survives signals that it sends to itself
                128 + signal
            }
        })
    }
}

/// Dies of a signal, whatever kinject does at it or has inherited for it (nohup(1)). Returns if that does not work.
fn die_of(signal: libc::c_int) {
    // no second core dump beside the program's: the limit covers dumps to files, the flag dumps to a program (core(5))
    let mut limit = getrlimit(Resource::Core);
    limit.current = Some(0);
    let _may_dump = setrlimit(Resource::Core, limit).is_err();
    let _may_dump = set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err();
    // SAFETY: SIG_DFL is no function that could be called; for SIGKILL the call fails and is not needed
    let _is_default = unsafe { libc::signal(signal, libc::SIG_DFL) } != libc::SIG_ERR;
    unblock(signal);
    // SAFETY: raise has no preconditions
    let _survived = unsafe { libc::raise(signal) };
}

fn unblock(signal: libc::c_int) {
    let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer leads to memory for a whole mask, which nobody else has
    let _is_empty = unsafe { libc::sigemptyset(mask.as_mut_ptr()) } == 0;
    // SAFETY: sigemptyset has filled it in; libc refuses the signals that are its own, which nobody can block
    let _is_added = unsafe { libc::sigaddset(mask.as_mut_ptr(), signal) } == 0;
    // SAFETY: sigemptyset has filled the mask in, and null asks for no old one
    let _is_unblocked =
        unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, mask.as_ptr(), std::ptr::null_mut()) } == 0;
}

/// A failure before the command ran.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What `kinject` exits with.
    pub(crate) code: Status,
    /// What happened: lower case, no final period.
    pub(crate) error: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// kinject's own failure.
    pub(crate) fn own(error: impl Into<String>, hint: &str) -> Self {
        Self {
            code: Status::Kinject,
            error: error.into(),
            hint: Some(hint.to_owned()),
        }
    }
}
