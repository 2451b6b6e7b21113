//! A mirrored mount: what the shadow root has of it, and how it becomes what a snapshot has.
//!
//! A kubelet makes a change of a config map or secret visible by one rename: it writes the new files into a new folder,
//! renames the link `..data` to it, and then removes the old folder. A snapshot is applied in the same order: what is new,
//! then `..data`, then the other links, and last what is gone. So a program finds either the old files or the new ones.

use super::links::shadow_target;
use super::shadow::Shadow;
use kinject_protocol::paths::PathTable;
use kinject_tunnel::files::{FileKind, FileStatus, Snapshot, SnapshotContent, SnapshotEntry};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};

/// The link by which a kubelet makes a change visible.
const DATA: &[u8] = b"..data";

/// The most bytes of all mirrored mounts together: they lie in memory.
pub(super) const MIRRORED_BYTES: u64 = 256 << 20;

/// The bytes of the contents in a snapshot.
pub(super) fn bytes_of(snapshot: &Snapshot) -> u64 {
    let contents = snapshot.entries.iter().map(|entry| match &entry.content {
        SnapshotContent::Bytes(content) => content.len() as u64,
        SnapshotContent::None | SnapshotContent::Failed(_) => 0,
    });
    contents.sum()
}

/// A mirrored mount.
#[derive(Debug)]
pub(super) struct Mirror {
    /// Its path, as the table of paths spells it.
    pub(super) mount: Vec<u8>,
    /// The paths of mounts below it, which are not its own.
    inner: Vec<Vec<u8>>,
    /// What stands in the shadow root, by its path below the mount.
    applied: BTreeMap<Vec<u8>, FileStatus>,
    /// The bytes of contents in the last snapshot.
    bytes: u64,
}

impl Mirror {
    /// Nothing stands in the shadow root yet. `mounts` are the paths of all mounts.
    pub(super) fn new(mount: Vec<u8>, mounts: &[Vec<u8>]) -> Self {
        let prefix = [&mount, b"/".as_slice()].concat();
        let inner = mounts
            .iter()
            .filter_map(|other| other.strip_prefix(prefix.as_slice()))
            .map(<[u8]>::to_vec)
            .collect();
        Self {
            mount,
            inner,
            applied: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// The bytes of its contents.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the shadow root have what the snapshot has. After a failure, another attempt goes on where this one ended.
    pub(super) fn apply(
        &mut self,
        shadow: &Shadow,
        table: &PathTable<'_>,
        snapshot: &Snapshot,
    ) -> Result<(), Errno> {
        self.bytes = bytes_of(snapshot);
        let own = || snapshot.entries.iter().filter(|entry| self.is_own(&entry.path));
        let listed: BTreeSet<Vec<u8>> = own().map(|entry| entry.path.clone()).collect();
        let changed: Vec<&SnapshotEntry> = own()
            .filter(|entry| self.applied.get(&entry.path) != Some(&entry.status))
            .collect();
        let (links, others): (Vec<_>, Vec<_>) = changed
            .into_iter()
            .partition(|entry| entry.status.kind == FileKind::Link);
        let (data, links): (Vec<_>, Vec<_>) = links.into_iter().partition(|entry| entry.path == DATA);
        for entry in others {
            self.put(shadow, entry)?;
        }
        for entry in data.into_iter().chain(links) {
            self.put_link(shadow, table, entry)?;
        }
        // what is in a folder is behind it in this order
        let gone: Vec<Vec<u8>> = self.applied.keys().rev().cloned().collect();
        for path in gone {
            if !listed.contains(&path) {
                if !self.is_around_inner(&path) {
                    shadow.remove(&self.place(&path))?;
                }
                self.applied.remove(&path);
            }
        }
        for entry in snapshot.entries.iter() {
            if entry.status.kind == FileKind::Folder && self.is_own(&entry.path) {
                shadow.set_folder_time(&self.place(&entry.path), entry.status.modified)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, shadow: &Shadow, entry: &SnapshotEntry) -> Result<(), Errno> {
        let place = self.place(&entry.path);
        // a folder replaces what else stands there
        let was_folder = self.applied.get(&entry.path).map(|status| status.kind) == Some(FileKind::Folder);
        if was_folder && entry.status.kind != FileKind::Folder {
            shadow.remove(&place)?;
        }
        match &entry.content {
            SnapshotContent::Bytes(content) => shadow.put_content(&place, &entry.status, content)?,
            SnapshotContent::Failed(_) => put_unreadable(shadow, &place, &entry.status)?,
            SnapshotContent::None => shadow.put_placeholder(&place, &entry.status)?,
        }
        self.applied.insert(entry.path.clone(), entry.status.clone());
        Ok(())
    }

    fn put_link(
        &mut self,
        shadow: &Shadow,
        table: &PathTable<'_>,
        entry: &SnapshotEntry,
    ) -> Result<(), Errno> {
        let place = self.place(&entry.path);
        let target = shadow_target(table, &place, &entry.status.target).ok_or(Errno::NAMETOOLONG)?;
        let is_there = self.applied.contains_key(&entry.path);
        match entry.path == DATA && is_there {
            true => shadow.swap_link(&place, &target, entry.status.modified)?,
            false => shadow.put_link(&place, &target, entry.status.modified)?,
        }
        self.applied.insert(entry.path.clone(), entry.status.clone());
        Ok(())
    }

    /// The path of an entry in the container.
    fn place(&self, path: &[u8]) -> Vec<u8> {
        match path {
            [] => self.mount.clone(),
            _ => [self.mount.as_slice(), b"/", path].concat(),
        }
    }

    /// Whether an entry belongs to this mount and to none below it.
    fn is_own(&self, path: &[u8]) -> bool {
        !self.inner.iter().any(|inner| is_at_or_below(path, inner))
    }

    /// Whether a mount stands at or below an entry: such a folder stays.
    fn is_around_inner(&self, path: &[u8]) -> bool {
        self.inner.iter().any(|inner| is_at_or_below(inner, path))
    }
}

/// A file that the container's user cannot read. Nothing keeps root from reading the empty file that others cannot open:
/// root finds no file.
fn put_unreadable(shadow: &Shadow, place: &[u8], status: &FileStatus) -> Result<(), Errno> {
    if rustix::process::geteuid().is_root() {
        return shadow.remove(place);
    }
    let unreadable = FileStatus {
        is_readable: false,
        ..status.clone()
    };
    shadow.put_placeholder(place, &unreadable)
}

fn is_at_or_below(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
