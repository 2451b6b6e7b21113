//! Remote paths: what of them stands in the shadow root, and how an agent's answer gets there.

use super::links::{shadow_target, spelled};
use super::shadow::{Shadow, Staged};
use kinject_protocol::paths::{Kind, PathTable, Route};
use kinject_tunnel::files::{FileKind, FileStatus, FoundLink, NamedStatus};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

/// The most files of which the shadow root has a placeholder or the content.
const MAX_HELD: usize = 500_000;

/// The most bytes of contents: they lie in memory.
const MAX_CONTENT: u64 = 1 << 30;

/// For how long a content stays after it was asked for, so that the program that asked can open it.
const KEPT: Duration = Duration::from_secs(30);

/// What the shadow root has of remote paths.
pub(super) struct Remote {
    /// By the path in the container, as the table of paths spells it.
    held: BTreeMap<Vec<u8>, Held>,
    /// The paths of mounts.
    mounts: Vec<Vec<u8>>,
    /// The bytes of contents that may be here, and for how long one stays in any case.
    limit: u64,
    kept: Duration,
}

/// A file in the shadow root.
struct Held {
    status: FileStatus,
    content: Option<Content>,
}

/// The content of a file in the shadow root.
#[derive(Clone, Copy)]
struct Content {
    length: u64,
    asked_at: Instant,
}

impl Remote {
    /// Nothing is held yet. `mounts` are the paths of all mounts.
    pub(super) fn new(mounts: Vec<Vec<u8>>) -> Self {
        Self {
            held: BTreeMap::new(),
            mounts,
            limit: MAX_CONTENT,
            kept: KEPT,
        }
    }

    /// The status with which a file's content is here, for a program that is about to open it.
    pub(super) fn asked(&mut self, path: &[u8]) -> Option<&FileStatus> {
        let held = self.held.get_mut(path)?;
        held.content.as_mut()?.asked_at = Instant::now();
        Some(&held.status)
    }

    /// Puts the links that lead to a file.
    pub(super) fn put_links(
        &mut self,
        shadow: &Shadow,
        table: &PathTable<'_>,
        links: &[FoundLink],
    ) -> Result<(), Errno> {
        for link in links {
            let path = spelled(table, &link.path);
            if !self.may_replace(table, &path) || self.is_held(&path, &link.status) {
                continue;
            }
            self.check_room(&path)?;
            let target = shadow_target(table, &path, &link.status.target).ok_or(Errno::NAMETOOLONG)?;
            shadow.put_link(&path, &target, link.status.modified)?;
            self.forget_below(&path);
            self.hold(path, link.status.clone(), None);
        }
        Ok(())
    }

    /// Puts the status of a file or folder, without its content, unless it is there already.
    pub(super) fn put_status(
        &mut self,
        shadow: &Shadow,
        table: &PathTable<'_>,
        path: &[u8],
        status: &FileStatus,
    ) -> Result<(), Errno> {
        if self.is_held(path, status) || !self.may_change(table, path, status) {
            return Ok(());
        }
        self.check_room(path)?;
        if status.kind != FileKind::Folder {
            self.forget_below(path);
        }
        if status.kind == FileKind::Link {
            let target = shadow_target(table, path, &status.target).ok_or(Errno::NAMETOOLONG)?;
            shadow.put_link(path, &target, status.modified)?;
        } else {
            shadow.put_placeholder(path, status)?;
            if status.kind == FileKind::Folder {
                shadow.set_folder_time(path, status.modified)?;
            }
        }
        self.hold(path.to_vec(), status.clone(), None);
        Ok(())
    }

    /// Puts a file whose content is staged.
    pub(super) fn put_content(
        &mut self,
        shadow: &Shadow,
        table: &PathTable<'_>,
        path: &[u8],
        status: &FileStatus,
        staged: Staged,
    ) -> Result<(), Errno> {
        if !self.may_change(table, path, status) {
            shadow.discard(staged);
            return Ok(());
        }
        if let Err(errno) = self.check_room(path) {
            shadow.discard(staged);
            return Err(errno);
        }
        let length = staged.file.metadata().map_or(status.size, |found| found.len());
        self.make_room(shadow, path, length)?;
        shadow.put_staged(path, status, staged)?;
        self.forget_below(path);
        let content = Content {
            length,
            asked_at: Instant::now(),
        };
        self.hold(path.to_vec(), status.clone(), Some(content));
        Ok(())
    }

    /// Puts a folder with all of its entries for which `is_wanted`, and removes all others.
    pub(super) fn put_entries(
        &mut self,
        shadow: &Shadow,
        table: &PathTable<'_>,
        path: &[u8],
        status: &FileStatus,
        entries: &[NamedStatus],
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Errno> {
        if status.kind != FileKind::Folder || is_mirrored(table, path) {
            return Ok(());
        }
        self.put_status(shadow, table, path, status)?;
        let mut listed = HashSet::new();
        for entry in entries {
            let place = join(path, &entry.name);
            if !is_wanted(&place) {
                continue;
            }
            listed.insert(entry.name.as_slice());
            // a program may be about to read content that is there: whoever asks for this file gets the new one
            let has_content = self.held.get(&place).is_some_and(|held| held.content.is_some());
            if !has_content || entry.status.kind != FileKind::File {
                self.put_status(shadow, table, &place, &entry.status)?;
            }
        }
        for name in shadow.names(path)? {
            let place = join(path, &name);
            if !listed.contains(name.as_slice()) && self.may_replace(table, &place) {
                self.remove(shadow, &place)?;
            }
        }
        shadow.set_folder_time(path, status.modified)
    }

    /// Removes what stands at a path, since the container has nothing there.
    pub(super) fn put_nothing(
        &mut self,
        shadow: &Shadow,
        table: &PathTable<'_>,
        path: &[u8],
    ) -> Result<(), Errno> {
        match self.may_replace(table, path) {
            true => self.remove(shadow, path),
            false => Ok(()),
        }
    }

    fn remove(&mut self, shadow: &Shadow, path: &[u8]) -> Result<(), Errno> {
        shadow.remove(path)?;
        self.held.remove(path);
        self.forget_below(path);
        Ok(())
    }

    fn is_held(&self, path: &[u8], status: &FileStatus) -> bool {
        self.held.get(path).is_some_and(|held| held.status == *status)
    }

    fn hold(&mut self, path: Vec<u8>, status: FileStatus, content: Option<Content>) {
        self.held.insert(path, Held { status, content });
    }

    /// Removes contents that were not asked for of late, those that were not for the longest time first, until another
    /// one has room. A file is removed and not replaced by a placeholder: a program that opens it without asking must
    /// not take that for its content.
    fn make_room(&mut self, shadow: &Shadow, path: &[u8], length: u64) -> Result<(), Errno> {
        let others = self.held.iter().filter(|(held, _)| held.as_slice() != path);
        let mut contents: Vec<(Content, &Vec<u8>)> = others
            .filter_map(|(held, Held { content, .. })| content.map(|content| (content, held)))
            .collect();
        let mut total: u64 = contents.iter().map(|(content, _)| content.length).sum();
        if total.saturating_add(length) <= self.limit {
            return Ok(());
        }
        contents.sort_by_key(|(content, _)| content.asked_at);
        let mut removed = Vec::new();
        for (content, held) in contents {
            if content.asked_at.elapsed() < self.kept || total.saturating_add(length) <= self.limit {
                break;
            }
            total -= content.length;
            removed.push(held.clone());
        }
        for held in removed {
            self.remove(shadow, &held)?;
        }
        Ok(())
    }

    fn check_room(&self, path: &[u8]) -> Result<(), Errno> {
        match self.held.len() < MAX_HELD || self.held.contains_key(path) {
            true => Ok(()),
            false => Err(Errno::NOSPC),
        }
    }

    /// Forgets what stood below a path that was a folder: it is gone with it.
    fn forget_below(&mut self, path: &[u8]) {
        let was_folder = |held: &Held| held.status.kind == FileKind::Folder;
        if self.held.get(path).is_none_or(was_folder) {
            let prefix = join(path, b"");
            let below = self.held.range(prefix.clone()..);
            let below: Vec<_> = below
                .map(|(held, _)| held.clone())
                .take_while(|held| held.starts_with(&prefix))
                .collect();
            for path in below {
                self.held.remove(&path);
            }
        }
    }

    /// Whether this may stand at a path: a folder may also stand above a mount.
    fn may_change(&self, table: &PathTable<'_>, path: &[u8], status: &FileStatus) -> bool {
        match status.kind {
            FileKind::Folder => !is_mirrored(table, path),
            _ => self.may_replace(table, path),
        }
    }

    /// Whether anything may replace what stands at a path: it is not mirrored or scratch, nor is there a mount below it.
    fn may_replace(&self, table: &PathTable<'_>, path: &[u8]) -> bool {
        let prefix = join(path, b"");
        path != b"/"
            && !is_mirrored(table, path)
            && !self.mounts.iter().any(|mount| mount.starts_with(&prefix))
    }
}

/// Whether the shadow root has all of a path by other means.
fn is_mirrored(table: &PathTable<'_>, path: &[u8]) -> bool {
    matches!(table.route(path), Route::Shadow(place) if place.kind != Kind::Remote)
}

/// The path of an entry.
fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match folder {
        b"/" => [b"/", name].concat(),
        _ => [folder, b"/", name].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinject_tunnel::files::Timestamp;
    use std::io::Write;

    #[test]
    fn content_beyond_the_limit_removes_what_was_not_asked_for_the_longest_time() {
        let folder = tempfile::tempdir().unwrap();
        let shadow = Shadow::create(folder.path()).unwrap();
        let table = PathTable::parse(b"/root:r/data").unwrap();
        let mut remote = Remote::new(vec![b"/data".to_vec()]);
        remote.limit = 100;
        let status = FileStatus {
            kind: FileKind::File,
            mode: 0o644,
            size: 40,
            modified: Timestamp::default(),
            changed: Timestamp::default(),
            inode: 1,
            is_readable: true,
            target: Vec::new(),
        };
        let put = |remote: &mut Remote, name: &str| {
            let mut staged = shadow.stage().unwrap();
            staged.file.write_all(&[b'x'; 40]).unwrap();
            let path = format!("/data/{name}").into_bytes();
            remote
                .put_content(&shadow, &table, &path, &status, staged)
                .unwrap();
        };
        let there = || {
            let mut names = shadow.names(b"/data").unwrap();
            names.sort();
            names
        };
        for name in ["a", "b", "c"] {
            put(&mut remote, name);
        }
        assert_eq!(there(), [b"a", b"b", b"c"], "all were asked for just now");
        remote.kept = Duration::ZERO;
        assert!(remote.asked(b"/data/a").is_some());
        put(&mut remote, "d");
        assert_eq!(there(), [b"a", b"d"]);
        assert!(remote.asked(b"/data/b").is_none());
        // a content in the place of its own takes no more room
        put(&mut remote, "d");
        assert_eq!(there(), [b"a", b"d"]);
    }
}
