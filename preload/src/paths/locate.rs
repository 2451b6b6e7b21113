//! Where a path leads: from what a program passes to the path that libc gets.

use super::buffer::{Lengths, PathBuffer};
use super::table::Table;
use crate::errno::Errno;
use crate::sys;
use kinject_protocol::paths::{Kind, PathTable, Route, normalise};
use libc::c_int;

/// The room that the longer spelling of a mount takes: `/var`.
const SPELLING: usize = 4;

/// Where a path leads. The buffer has the other path, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Located {
    /// To this machine's file, by the program's own path.
    Native,
    /// To this machine's file at the path in the buffer: the program's leads through the shadow root.
    Elsewhere,
    /// To this machine's file or, if there is none, to a folder of the shadow root.
    Parent(Above),
    /// To the file in the buffer.
    Shadow(Found),
}

/// A folder above an entry. The buffer has its path on this machine until [`put_in_shadow`] replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Above {
    pub(super) kind: Kind,
    /// Whether the program's own path leads elsewhere.
    pub(super) is_elsewhere: bool,
    lengths: Lengths,
}

/// Puts the folder of the shadow root into the buffer; gives the length of the root.
pub(super) fn put_in_shadow(table: &Table, above: Above, buffer: &mut PathBuffer) -> Option<usize> {
    let root = PathTable::parse(table.text())?.root();
    buffer.put_below(root, above.lengths.mount(table.text()), above.lengths.rest)?;
    Some(root.len())
}

/// A file below the shadow root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kind: Kind,
    /// Whether the path is that of a mount itself.
    pub(super) is_mount: bool,
    /// Whether the program's own path leads there as well.
    pub(super) is_own: bool,
    /// Which mount it is: where the table has it.
    pub(super) mount: usize,
    /// The length of the shadow root.
    pub(super) root: usize,
}

/// How a path ends, which decides what a call may do there (path_resolution(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Name,
    /// With a slash: what it names has to be a folder.
    Slash,
    /// With `.` or `..`.
    Dots,
}

impl Ending {
    pub(super) fn of(path: &[u8]) -> Self {
        match path {
            [.., b'/'] => Self::Slash,
            b"." | b".." | [.., b'/', b'.'] | [.., b'/', b'.', b'.'] => Self::Dots,
            _ => Self::Name,
        }
    }

    pub(super) fn needs_folder(self) -> bool {
        self != Self::Name
    }
}

/// Finds where a path of the program leads.
#[cold]
#[inline(never)]
pub(super) fn locate(
    table: &Table,
    folder: c_int,
    path: &[u8],
    buffer: &mut PathBuffer,
) -> Result<Located, Errno> {
    if path.starts_with(b"/") {
        locate_from(table.text(), b"/", false, path, buffer)
    } else {
        locate_relative(table.text(), folder, path, buffer)
    }
}

#[cold]
#[inline(never)]
fn locate_relative(
    table: &[u8],
    folder: c_int,
    path: &[u8],
    buffer: &mut PathBuffer,
) -> Result<Located, Errno> {
    let mut base = [0; sys::PATH_SIZE];
    let base = if folder == libc::AT_FDCWD {
        sys::current_folder(&mut base)
    } else {
        sys::path_of_descriptor(folder, &mut base)
    };
    // a folder that is out of reach, or was removed, or no folder: the kernel says so
    let Some(base) = base.filter(|base| base.starts_with(b"/")) else {
        return Ok(Located::Native);
    };
    match PathTable::parse(table).and_then(|paths| paths.without_root(base)) {
        Some(inside) => locate_from(table, inside, true, path, buffer),
        None => locate_from(table, base, false, path, buffer),
    }
}

/// The same by the text of the table, for a path in a folder. If that `is_inside` the shadow root, its path here is
/// the one that the program knows.
pub(super) fn locate_from(
    table: &[u8],
    base: &[u8],
    is_inside: bool,
    path: &[u8],
    buffer: &mut PathBuffer,
) -> Result<Located, Errno> {
    let Some(paths) = PathTable::parse(table) else {
        return Ok(Located::Native);
    };
    let root = paths.root();
    let mut has_left_entry = false;
    let leaves = |folder: &[u8]| {
        has_left_entry |= match paths.without_root(folder) {
            Some(_) => true,
            None => paths.route(folder) != Route::Native,
        };
    };
    let room = buffer.room_behind(root.len().saturating_add(SPELLING));
    // the kernel refuses a path that is too long
    let Some(normal) = room.and_then(|room| normalise(base, path, room, leaves)) else {
        return Ok(Located::Native);
    };
    let (known, is_in_root) = match paths.without_root(normal) {
        Some(known) => (known, true),
        None => (normal, false),
    };
    let (place, is_shadow) = match paths.route(known) {
        Route::Native => (None, false),
        Route::Parent(place) => (Some(place), false),
        Route::Shadow(place) => (Some(place), true),
    };
    let place = place.map(|place| {
        let is_spelled_so = place.mount.len().saturating_add(place.rest.len()) == known.len();
        let is_own = is_in_root || (is_inside && is_spelled_so && !has_left_entry);
        (place.kind, Lengths::of(place, table), is_own)
    });
    let length = normal.len();
    buffer.set_length(length);
    let Some((kind, lengths, is_own)) = place else {
        return Ok(match !is_in_root && (is_inside || has_left_entry) {
            true => Located::Elsewhere,
            false => Located::Native,
        });
    };
    if !is_shadow && is_in_root {
        return Ok(Located::Native);
    }
    if !is_shadow {
        return Ok(Located::Parent(Above {
            kind,
            is_elsewhere: is_inside || has_left_entry,
            lengths,
        }));
    }
    let mount = lengths.mount(table);
    buffer
        .put_below(root, mount, lengths.rest)
        .ok_or(Errno(libc::ENAMETOOLONG))?;
    Ok(Located::Shadow(Found {
        kind,
        is_mount: lengths.rest == 0 && lengths.mount != 0,
        is_own,
        mount: lengths.mount_start,
        root: root.len(),
    }))
}

#[cfg(test)]
mod tests;
