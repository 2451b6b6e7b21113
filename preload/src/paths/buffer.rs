//! A path in memory of the stack, for the duration of one call.

use crate::sys::PATH_SIZE;
use kinject_protocol::paths::Place;
use libc::c_char;

/// A path that was normalised, with room before it for the shadow root.
pub(super) struct PathBuffer {
    bytes: [u8; PATH_SIZE],
    /// Where the path begins, and where the null behind it is.
    start: usize,
    end: usize,
}

/// Room behind the path: for a slash and the null.
const TAIL: usize = 2;

impl PathBuffer {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; PATH_SIZE],
            start: 0,
            end: 0,
        }
    }

    /// Where a path can be written with so much room before it.
    pub(super) fn room_behind(&mut self, room: usize) -> Option<&mut [u8]> {
        let end = self.bytes.len().checked_sub(TAIL)?;
        self.start = room;
        self.bytes.get_mut(room..end)
    }

    /// Sets the length of what was written there.
    pub(super) fn set_length(&mut self, length: usize) {
        self.end = self.start.saturating_add(length);
    }

    /// Puts the shadow root and the mount before the rest, which the path ends with.
    pub(super) fn put_below(&mut self, root: &[u8], mount_path: &[u8], rest: usize) -> Option<()> {
        let rest = self.end.checked_sub(rest)?;
        let mount = rest.checked_sub(mount_path.len())?;
        let start = mount.checked_sub(root.len())?;
        copy(self.bytes.get_mut(mount..rest)?, mount_path);
        copy(self.bytes.get_mut(start..mount)?, root);
        self.start = start;
        Some(())
    }

    /// The path.
    pub(super) fn path(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// The path as a C string, with a slash behind it if it has to lead to a folder.
    pub(super) fn as_pointer(&mut self, needs_folder: bool) -> *const c_char {
        let ends: &[u8] = if needs_folder { b"/\0" } else { b"\0" };
        for (field, byte) in self.bytes.iter_mut().skip(self.end).zip(ends) {
            *field = *byte;
        }
        self.bytes
            .as_mut_ptr()
            .wrapping_add(self.start)
            .cast_const()
            .cast()
    }

    /// Calls `with` with the folder that the path is in.
    pub(super) fn with_parent<T>(&mut self, with: impl FnOnce(&mut Self) -> T) -> T {
        let whole = self.end;
        if let Some(length) = self.path().iter().rposition(|byte| *byte == b'/') {
            self.end = self.start.saturating_add(length);
        }
        let kept = self.bytes.get(self.end).copied();
        let result = with(self);
        if let (Some(kept), Some(field)) = (kept, self.bytes.get_mut(self.end)) {
            *field = kept;
        }
        self.end = whole;
        result
    }
}

/// A [`Place`] by its lengths: the path that it is of can be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lengths {
    /// Where in the table's text the mount is.
    pub(super) mount_start: usize,
    pub(super) mount: usize,
    pub(super) rest: usize,
}

impl Lengths {
    pub(super) fn of(place: Place<'_>, table: &[u8]) -> Self {
        Self {
            // without a mount it is never used
            mount_start: (place.mount.as_ptr() as usize).wrapping_sub(table.as_ptr() as usize),
            mount: place.mount.len(),
            rest: place.rest.len(),
        }
    }

    /// The mount, which is empty for a glob.
    pub(super) fn mount(self, table: &[u8]) -> &[u8] {
        let end = self.mount_start.wrapping_add(self.mount);
        table.get(self.mount_start..end).unwrap_or_default()
    }
}

fn copy(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(field, byte)| *field = *byte);
}
