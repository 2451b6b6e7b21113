//! Files of the agent's container as they travel through the tunnel: what is asked, what is answered, and the bytes of
//! both.
//!
//! A relay asks for one path ([`FileQuestion`]) and gets a [`FileAnswer`]: the symbolic links that lead to the file, and
//! the file's status, with its entries or its content if it asked for them. Or it watches paths, and gets a [`Snapshot`]
//! of all that stands below one, at once and after each change.
//!
//! The agent follows links itself, from one component to the next, and reports each: so one round trip is enough to put
//! a path and all that leads to it elsewhere. Errors are Linux's errno numbers.
//!
//! Decoding bounds everything before it allocates, and refuses names that are no names (`..`, a slash, a NUL byte) and
//! entries whose folder is not there: what it returns has the shape of a tree.

mod codec;
mod message;
mod snapshot;
mod status;
#[cfg(test)]
mod tests;

pub use message::{
    FileAnswer, FileOperation, FileOutcome, FilePayload, FileQuestion, FoundLink, NamedStatus,
};
pub use snapshot::{Snapshot, SnapshotContent, SnapshotEntry, WatchEvent};
pub use status::{FileKind, FileStatus, Timestamp};

pub(crate) use message::{decode_paths, encode_paths};

/// The largest file whose content an agent sends; open(2) of a larger one fails with `EFBIG`.
pub const CONTENT_BYTES: u64 = 256 * 1024 * 1024;
/// The most entries of a folder, and of a snapshot.
pub const MAX_ENTRIES: usize = 50_000;
/// The largest snapshot, with its contents.
pub const SNAPSHOT_BYTES: usize = 64 * 1024 * 1024;
/// The most symbolic links on the way to a file, as in the kernel (path_resolution(7)).
pub const MAX_LINKS: usize = 40;
/// The most components of a path.
pub const MAX_DEPTH: usize = 128;
/// The most paths of one watch.
pub const MAX_WATCHED: usize = 256;

/// The longest path, `PATH_MAX` without its zero.
pub(crate) const PATH_BYTES: usize = 4095;
/// The largest question: two paths and a status with a link's target.
pub(crate) const QUESTION_BYTES: usize = 3 * PATH_BYTES + 256;
/// The largest answer, without a file's content: entries of names with 255 bytes and some links among them.
pub(crate) const ANSWER_BYTES: usize = 32 * 1024 * 1024;
/// The longest list of paths to watch.
pub(crate) const WATCH_BYTES: usize = MAX_WATCHED * 1024;

/// Why bytes are no message of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileDecodeError {
    /// It ends before its fields do.
    #[error("it ends early")]
    Truncated,
    /// Bytes follow its last field.
    #[error("bytes follow its end")]
    TrailingBytes,
    /// A field has a value that means nothing.
    #[error("it holds the unknown value {0}")]
    Value(u8),
    /// A name or path that cannot be one.
    #[error("it holds a name that no file can have")]
    Name,
    /// An entry whose folder is not listed before it, or that is listed twice.
    #[error("its entries are no tree")]
    Tree,
    /// More of something than allowed.
    #[error("it holds more than is allowed")]
    Excess,
}
