//! Why the agent was not started. The loader writes it as one line into the pod's log, and the relay shows that line.

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
    /// The parts together are not a complete, valid xz file.
    Broken,
    /// The unpacked file does not have the SHA-256 of the agent.
    OtherAgent,
    /// The unpacked agent cannot be written.
    NotWritten(Destination, Errno),
    /// The unpacked agent cannot be executed.
    NotExecuted(Destination, Errno),
}

/// Where the loader writes the unpacked agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A memfd.
    Memory,
    /// The file of `--fallback`.
    File(CString),
}

impl Failure {
    /// The failure to read a part.
    pub(crate) fn of_part(part: &CStr, error: Errno) -> Self {
        Self::Part(part.to_owned(), error)
    }

    /// The exit status. Those of the agent are smaller, and those that shells report for signals are larger.
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

    /// Whether the file of `--fallback` may work instead: some nodes forbid memfds, or executing them.
    pub(crate) fn is_about_memfd(&self) -> bool {
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
                write!(f, "cannot read {}: {}", part.to_string_lossy(), Message(*error))
            }
            Self::Broken => {
                f.write_str("the parts of the agent are damaged or not complete: it is not started")
            }
            Self::OtherAgent => {
                f.write_str("the agent does not have the SHA-256 that was announced: it is not started")
            }
            Self::NotWritten(destination, error) => {
                write!(f, "cannot write the agent to {destination}: {}", Message(*error))
            }
            Self::NotExecuted(destination, error) => {
                write!(
                    f,
                    "cannot execute the agent from {destination}: {}",
                    Message(*error)
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

/// The message for an error number. Only the C library has these messages, so this has those of likely errors.
struct Message(Errno);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = match self.0 {
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
        f.write_str(message)
    }
}
