//! Remote paths: what of them stands in the shadow root, and how an agent's answer gets there.

use super::contents::{self, Contents, Oldest, Reserved};
use super::links::{shadow_target, spelled};
use super::shadow::{LEFT_FREE, Shadow, Staged};
use kinject_protocol::paths::{Kind, PathTable, Route};
use kinject_tunnel::files::{FileKind, FileStatus, FoundLink, NamedStatus};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// The most files of which the shadow root has a placeholder or the content.
pub(super) const MAX_HELD: usize = 500_000;

/// Of a content of up to so many bytes it is the write that tells whether there is space for it: it takes what is to be
/// left free, too.
pub(super) const TINY: u64 = 64 << 10;

/// What the shadow root has of remote paths.
pub(super) struct Remote {
    /// By the path in the container, as the table of paths spells it.
    held: BTreeMap<Vec<u8>, FileStatus>,
    /// Of which files the shadow root has the content.
    contents: Contents,
    /// The paths of mounts.
    mounts: Vec<Vec<u8>>,
}

/// Room for a content that is about to arrive.
pub(super) enum Room {
    /// There is.
    Reserved(Reserved),
    /// There may be, at this time or when another content has arrived.
    Later {
        at: Option<Instant>,
        /// Whether kinject's own limit is what stands against it, and not the disk.
        is_limit: bool,
    },
}

impl Remote {
    /// Nothing is held yet. `mounts` are the paths of all mounts.
    pub(super) fn new(mounts: Vec<Vec<u8>>) -> Self {
        Self {
            held: BTreeMap::new(),
            contents: Contents::default(),
            mounts,
        }
    }

    /// What those that wait for room look at.
    pub(super) fn shared_contents(&self) -> Arc<contents::Shared> {
        self.contents.shared()
    }

    /// The status with which a file's content is here. It stays for a program that is about to open the file. Only opens
    /// count for which content gives way first: a listing of a folder with status says nothing of what is used.
    pub(super) fn asked(&mut self, path: &[u8], is_to_open: bool) -> Option<&FileStatus> {
        if !self.contents.has(path) {
            return None;
        }
        match is_to_open {
            true => self.contents.touch(path),
            false => self.contents.keep(path),
        }
        self.held.get(path)
    }

    /// Whether no further file can be held.
    pub(super) fn is_at_most(&self) -> bool {
        self.held.len() >= MAX_HELD
    }

    /// Reserves room for a content, in whose favour others give way that were not asked for of late, those that were not
    /// opened for the longest time first. None does if that makes no room. Such a file is removed and not replaced by a
    /// placeholder: a program that opens it without asking must not take that for its content.
    ///
    /// `own` is what the caller has reserved before: what is free when another content has arrived is the others'.
    pub(super) fn room(&mut self, shadow: &Shadow, bytes: u64, own: u64) -> Result<Room, Errno> {
        let is_tiny = own.saturating_add(bytes) <= TINY;
        loop {
            let fits = self.contents.fits(bytes);
            if fits && self.has_space(shadow, bytes, is_tiny, 0) {
                return Ok(Room::Reserved(self.contents.reserve(bytes)));
            }
            let is_limit = !fits;
            let total = self.contents.total();
            let helps = self.contents.fits_alone(bytes) && self.has_space(shadow, bytes, is_tiny, total);
            match self.contents.oldest() {
                Some(Oldest::Path(path)) if helps => {
                    shadow.remove(&path)?;
                    self.held.remove(&path);
                    self.contents.evict(&path);
                }
                Some(Oldest::Later(at)) if helps => {
                    let at = Some(at);
                    return Ok(Room::Later { at, is_limit });
                }
                _ if fits && is_tiny => return Ok(Room::Reserved(self.contents.reserve(bytes))),
                _ if self.contents.reserved() > own => return Ok(Room::Later { at: None, is_limit }),
                _ => return Err(Errno::NOSPC),
            }
        }
    }

    /// Whether there is space for so many bytes beside what others are about to write, when these are removed.
    fn has_space(&self, shadow: &Shadow, bytes: u64, is_tiny: bool, removed: u64) -> bool {
        match is_tiny {
            true => bytes == 0 || shadow.has_space(bytes, removed),
            false => {
                let needed = self.contents.unwritten().saturating_add(bytes);
                shadow.has_space(needed.saturating_add(LEFT_FREE), removed)
            }
        }
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
            self.hold(path, link.status.clone());
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
        self.hold(path.to_vec(), status.clone());
        Ok(())
    }

    /// Puts a file whose content is staged: into the placeholder with that status, or in place of what stands there.
    pub(super) fn put_content(
        &mut self,
        shadow: &Shadow,
        table: &PathTable<'_>,
        path: &[u8],
        status: &FileStatus,
        staged: Staged,
        room: Reserved,
    ) -> Result<(), Errno> {
        if !self.may_change(table, path, status) {
            return Ok(());
        }
        self.check_room(path)?;
        let is_same = self.is_held(path, status);
        if is_same && self.contents.has(path) {
            // another program got it by another path meanwhile, and may have it open
            self.contents.touch(path);
            return Ok(());
        }
        let length = staged.file.metadata().map_or(status.size, |found| found.len());
        if !(is_same && shadow.fill(path, status, &staged)?) {
            shadow.put_staged(path, status, staged)?;
        }
        self.forget_below(path);
        self.hold(path.to_vec(), status.clone());
        self.contents.add(path.to_vec(), length, room);
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
            if !self.contents.has(&place) || entry.status.kind != FileKind::File {
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

    /// Whether the content of a file is still here that the container has unchanged. It stays for the program that asked.
    pub(super) fn is_still_here(&mut self, path: &[u8]) -> bool {
        self.contents.keep(path);
        self.contents.has(path)
    }

    fn remove(&mut self, shadow: &Shadow, path: &[u8]) -> Result<(), Errno> {
        shadow.remove(path)?;
        self.held.remove(path);
        self.contents.forget(path);
        self.forget_below(path);
        Ok(())
    }

    fn is_held(&self, path: &[u8], status: &FileStatus) -> bool {
        self.held.get(path) == Some(status)
    }

    /// A file stands there without its content.
    fn hold(&mut self, path: Vec<u8>, status: FileStatus) {
        self.contents.forget(&path);
        self.held.insert(path, status);
    }

    fn check_room(&self, path: &[u8]) -> Result<(), Errno> {
        match self.held.len() < MAX_HELD || self.held.contains_key(path) {
            true => Ok(()),
            false => Err(Errno::NOSPC),
        }
    }

    /// Forgets what stood below a path that was a folder: it is gone with it.
    fn forget_below(&mut self, path: &[u8]) {
        let was_folder = |held: &FileStatus| held.kind == FileKind::Folder;
        if self.held.get(path).is_none_or(was_folder) {
            let prefix = join(path, b"");
            let below = self.held.range(prefix.clone()..);
            let below: Vec<_> = below
                .map(|(held, _)| held.clone())
                .take_while(|held| held.starts_with(&prefix))
                .collect();
            for path in below {
                self.held.remove(&path);
                self.contents.forget(&path);
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
mod tests;
