//! Bringing a sandbox up and taking it down again.
//!
//! ```text
//!  kinject-sandbox up ──fork──▶ the same program, in namespaces of its own ──▶ kinject-agent
//!    `outside`                  `inside`: DNS, samples                       confined
//!       stdin, signals, command    └── socket pair: reports out, end of file in ──┘
//! ```
//!
//! Each of the three ends when the one before it does, however that one ends: the inner process sees the end of the
//! socket pair and clears up, the agent is killed by the kernel.

mod agent;
mod inside;
mod lifeline;
mod outside;
mod plan;
mod report;

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

pub use report::Ready;

use plan::Plan;

/// The options of `kinject-sandbox up`.
#[derive(Debug, Default)]
pub struct Options {
    /// The agent; none for a sandbox that programs only enter.
    pub agent: Option<PathBuf>,
    /// Where the agent listens; in the sandbox's private folder if not given.
    pub socket: Option<PathBuf>,
    /// The agent's key; made, and removed at the end, if it is not there.
    pub key: Option<PathBuf>,
    /// The command to run while the sandbox is up.
    pub command: Vec<OsString>,
}

/// Brings the sandbox up, stays until its end and returns the status to exit with.
///
/// Must be called while the process has one thread only: it forks, and the child goes on in Rust.
pub fn run(options: Options) -> anyhow::Result<ExitCode> {
    let plan = Plan::prepare(&options)?;
    let (outer_end, inner_end) = UnixStream::pair().context("cannot make a socket pair")?;
    // SAFETY: the process has one thread (see above), so the child's copy of its memory is in order.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).context("cannot fork"),
        0 => {
            drop(outer_end);
            let status = inside::run(&plan, inner_end);
            // The destructors here belong to the parent.
            std::process::exit(status)
        }
        child => {
            drop(inner_end);
            outside::run(&plan, &options.command, child, outer_end)
        }
    }
}
