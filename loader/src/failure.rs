//! Why the agent was not started, in one line for the pod's log, which the relay shows.

use alloc::borrow::ToOwned;
use alloc::ffi::CString;
use core::ffi::CStr;
use core::fmt;
use rustix::io::Errno;

/// Why the agent was not started.
#[derive(Debug)]
pub enum Failure {
    /// The arguments are wrong.
    Usage(&'static str),
    /// A part cannot be read.
    Part(CString, Errno),
    /// The parts together are no whole xz file.
    Broken,
    /// What was unpacked is not the agent that the session brought.
    OtherAgent,
    /// The unpacked agent cannot be written, to memory or to the file of `--fallback`.
    NotWritten(Destination, Errno),
    /// The unpacked agent cannot be executed.
    NotExecuted(Destination, Errno),
}

/// Where the unpacked agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// In a file in memory.
    Memory,
    /// In the file of `--fallback`.
    File(CString),
}

impl Failure {
    /// A part that cannot be read.
    pub(crate) fn of_part(part: &CStr, error: Errno) -> Self {
        Self::Part(part.to_owned(), error)
    }

    /// The exit status: those of the agent are smaller, and those of shells and signals larger.
    pub fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 120,
            Self::Part(..) => 121,
            Self::Broken => 122,
            Self::OtherAgent => 123,
            Self::NotWritten(..) => 124,
            Self::NotExecuted(..) => 125,
        }
    }

    /// Whether another place may do: files in memory are forbidden, or not to be executed, on some nodes.
    pub(crate) fn is_of_memory(&self) -> bool {
        matches!(
            self,
            Self::NotWritten(Destination::Memory, _) | Self::NotExecuted(Destination::Memory, _)
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => write!(f, "{what}"),
            Self::Part(part, error) => {
                write!(f, "cannot read {}: {}", part.to_string_lossy(), Words(*error))
            }
            Self::Broken => {
                f.write_str("the parts of the agent are damaged or not complete: it is not started")
            }
            Self::OtherAgent => {
                f.write_str("the agent does not have the SHA-256 that was announced: it is not started")
            }
            Self::NotWritten(destination, error) => {
                write!(f, "cannot write the agent to {destination}: {}", Words(*error))
            }
            Self::NotExecuted(destination, error) => {
                write!(
                    f,
                    "cannot execute the agent from {destination}: {}",
                    Words(*error)
                )
            }
        }
    }
}

impl core::error::Error for Failure {}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::File(path) => write!(f, "{}", path.to_string_lossy()),
        }
    }
}

/// An error number in words: without a C library nobody else has them.
struct Words(Errno);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.0 {
            Errno::ACCESS => "permission denied",
            Errno::PERM => "operation not permitted",
            Errno::NOENT => "no such file or directory",
            Errno::EXIST => "file exists",
            Errno::NOSPC => "no space left on device",
            Errno::NOSYS => "function not implemented",
            Errno::NOMEM => "out of memory",
            Errno::NOEXEC => "exec format error",
            Errno::ROFS => "read-only file system",
            other => return write!(f, "error {}", other.raw_os_error()),
        };
        f.write_str(words)
    }
}
