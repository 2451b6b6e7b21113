//! What the user is told of files: each thing once, and no file's content.

use super::contents::MAX_CONTENT;
use super::mirror::MIRRORED_BYTES;
use super::remote::MAX_HELD;
use super::{errno_words, send};
use crate::log;
use kinject_protocol::session::{Event, Report};
use kinject_tunnel::files::{
    CONTENT_BYTES, FileKind, MAX_ENTRIES, SNAPSHOT_BYTES, Snapshot, SnapshotContent,
};
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::HashSet;
use tokio::sync::mpsc;

/// The most notices of a session; further ones are in the log alone.
const MAX_NOTICES: usize = 20;

/// Why a remote file cannot be written here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum NoSpace {
    /// The file system.
    Disk(Errno),
    /// The bytes of contents that a session may have.
    Contents,
    /// The files that a session may have.
    Files,
}

/// Tells the user.
pub(super) struct Notices {
    events: mpsc::Sender<Event>,
    given: RefCell<HashSet<String>>,
    /// Why remote files cannot be written, as far as the user knows it.
    full: RefCell<HashSet<NoSpace>>,
}

impl Notices {
    pub(super) fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            events,
            given: RefCell::default(),
            full: RefCell::default(),
        }
    }

    /// A mirrored mount cannot be read.
    pub(super) async fn unreadable_mount(&self, mount: Option<&Vec<u8>>, errno: u16) {
        let mount = kinject_escape::bytes(mount.map_or(b"", Vec::as_slice));
        let why = errno_words(Errno::from_raw_os_error(errno.into()));
        let message = format!("{mount} cannot be read in the container: {why}");
        self.give(message, "its files are missing or old for the session's programs")
            .await;
    }

    /// A mirrored mount has become too large to be mirrored. When it is smaller, it is followed again.
    pub(super) async fn outgrown(&self, mount: Option<&Vec<u8>>) {
        let mount = kinject_escape::bytes(mount.map_or(b"", Vec::as_slice));
        let message = format!(
            "{mount} has grown beyond what is mirrored ({} MiB and {MAX_ENTRIES} files of one mount, {} MiB of all): \
             the session's programs find its files as they were before",
            SNAPSHOT_BYTES >> 20,
            MIRRORED_BYTES >> 20
        );
        self.give(
            message,
            "start the session again: these files are then read when they are opened",
        )
        .await;
    }

    /// Files of a mirrored mount cannot be read.
    pub(super) async fn unreadable_files(&self, mount: &str, snapshot: &Snapshot) {
        let unreadable = snapshot.entries.iter().filter(|entry| {
            entry.status.kind == FileKind::File && matches!(entry.content, SnapshotContent::Failed(_))
        });
        let count = unreadable.count();
        if count > 0 {
            let files = if count == 1 { "file" } else { "files" };
            let message = format!("{count} {files} of {mount} cannot be read by the container's user");
            self.give(message, "the session's programs cannot read them either")
                .await;
        }
    }

    /// A change of a mirrored mount could not be written.
    pub(super) async fn not_written(&self, mount: Option<&Vec<u8>>, errno: Errno) {
        let mount = kinject_escape::bytes(mount.map_or(b"", Vec::as_slice));
        let message = format!(
            "{mount} has changed in the container and cannot be written here: {}",
            errno_words(errno)
        );
        let hint = match errno {
            Errno::FBIG => "raise the limit for files (`ulimit -f`), and start the session again",
            _ => "free some space: it is tried again every few seconds",
        };
        self.give(message, hint).await;
    }

    /// A remote file could not be put into the shadow root. It is said once of all that follow for the same cause, until
    /// one has been put there.
    pub(super) async fn not_fetched(&self, path: &[u8], cause: NoSpace) {
        let path = kinject_escape::bytes(path);
        let (message, hint) = match cause {
            NoSpace::Disk(errno) => (
                format!(
                    "cannot write {path} of the container here: {}",
                    errno_words(errno)
                ),
                "free some space, or name another folder in XDG_RUNTIME_DIR",
            ),
            NoSpace::Contents => (
                format!(
                    "cannot keep {path} of the container here: the {} MiB that a session keeps are all in use",
                    MAX_CONTENT >> 20
                ),
                "copy large files to this machine and name them with `--local-path`",
            ),
            NoSpace::Files => (
                format!("cannot keep {path} of the container here: a session keeps {MAX_HELD} files at most"),
                "copy large folders to this machine and name them with `--local-path`",
            ),
        };
        if !self.full.borrow_mut().insert(cause) {
            return log::debug!("{message}");
        }
        self.give(message, hint).await;
    }

    /// A remote file's content was put into the shadow root.
    pub(super) fn fetched(&self) {
        self.full.borrow_mut().clear();
    }

    /// A remote file has no content that could be read.
    pub(super) async fn without_content(&self, path: &[u8], kind: FileKind, errno: Errno) {
        let path = kinject_escape::bytes(path);
        let what = match kind {
            FileKind::Fifo => "a named pipe",
            FileKind::Socket => "a Unix socket",
            FileKind::CharacterDevice | FileKind::BlockDevice => "a device",
            FileKind::File if errno == Errno::FBIG => {
                let message = format!(
                    "{path} is larger than {} MiB: it is not read through the tunnel",
                    CONTENT_BYTES >> 20
                );
                return self
                    .give(message, "copy it to this machine and name it with `--local-path`")
                    .await;
            }
            FileKind::File | FileKind::Folder | FileKind::Link => {
                return log::debug!("{path} cannot be read in the container: {}", errno_words(errno));
            }
        };
        let message = format!("{path} is {what} of the container: it cannot be opened from here");
        self.give(message, "run what needs it in the cluster").await;
    }

    /// The agent's answer is of no use.
    pub(super) async fn bad_answer(&self, path: &[u8], error: &kinject_tunnel::RequestError) {
        let message = format!(
            "cannot read {} through the agent: {error}",
            kinject_escape::bytes(path)
        );
        self.give(message, "the program gets an input/output error").await;
    }

    /// Tells the user, unless it was said before.
    async fn give(&self, message: String, hint: &str) {
        let message = kinject_escape::line(message);
        {
            let mut given = self.given.borrow_mut();
            if given.len() >= MAX_NOTICES || !given.insert(message.clone()) {
                return log::debug!("{message}");
            }
        }
        let report = Report {
            message,
            hint: Some(hint.to_owned()),
        };
        send(&self.events, Event::Notice(report)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn cause_for_which_contents_are_not_put_is_told_once_until_one_is_put() {
        let (events, mut received) = mpsc::channel(8);
        let notices = Notices::new(events);
        let full = NoSpace::Disk(Errno::NOSPC);
        for (path, cause) in [
            (b"/a", NoSpace::Contents),
            (b"/b", NoSpace::Contents),
            (b"/c", full),
            (b"/d", full),
        ] {
            notices.not_fetched(path, cause).await;
        }
        notices.fetched();
        notices.not_fetched(b"/e", full).await;
        drop(notices);
        let mut told = Vec::new();
        while let Some(Event::Notice(report)) = received.recv().await {
            told.push(report.message);
        }
        let [limit, disk, again] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert!(
            limit.ends_with("/a of the container here: the 1024 MiB that a session keeps are all in use")
        );
        assert!(
            disk.contains("/c of") && disk.ends_with("no space left on device"),
            "{disk}"
        );
        assert!(again.contains("/e of"), "{again}");
    }
}
