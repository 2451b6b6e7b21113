//! Decides whether something is renamed or linked.
//!
//! In a container each mount is a file system of its own, across whose border nothing is renamed or linked. The
//! errors come in the kernel's order (do_renameat2 and do_linkat in fs/namei.c).

use super::Side;
use crate::errno::Errno;
use crate::paths::decision::{Facts, LookUp, decide, is_folder};
use crate::paths::locate::Ending;
use crate::paths::spec::Need;
use libc::c_int;

/// Decides whether rename(2) is called. A mount itself is a name in the folder above it, on another file system.
pub(super) fn decide_rename(old: &mut Side<'_>, new: &mut Side<'_>) -> Result<(), Errno> {
    old.parent()?;
    new.parent()?;
    let is_mount = |side: &Side<'_>| {
        // a dot is a name in the mount
        side.ending() != Ending::Dots && side.found().is_some_and(|found| found.is_mount)
    };
    let file_system = |side: &Side<'_>| side.mount().filter(|_| !is_mount(side));
    if file_system(old) != file_system(new) {
        return Err(Errno(libc::EXDEV));
    }
    if is_mount(old) {
        return Err(Errno(libc::EBUSY));
    }
    if is_mount(new) {
        let is_kind = |mode: Result<u32, Errno>| mode.map(is_folder);
        return Err(match (is_kind(old.mode())?, is_kind(new.mode())?) {
            (false, true) => Errno(libc::EISDIR),
            (true, false) => Errno(libc::ENOTDIR),
            _ => Errno(libc::EBUSY),
        });
    }
    let has_dots = [old.ending(), new.ending()].contains(&Ending::Dots);
    match (old.found().is_some() && has_dots, old.is_read_only()) {
        (true, _) => Err(Errno(libc::EBUSY)),
        (_, true) => Err(Errno(libc::EROFS)),
        (_, false) => Ok(()),
    }
}

/// Decides whether link(2) is called. Of an open file, the kernel decides whether it is on the same file system.
pub(super) fn decide_link(old: &mut Side<'_>, new: &mut Side<'_>, flags: c_int) -> Result<(), Errno> {
    let file = match old.facts() {
        Some(mut facts) => facts.mode(LookUp::Link),
        None => Ok(0),
    };
    let file = file?;
    let ending = new.ending();
    if new.is_read_only()
        && let Some(mut facts) = new.facts()
    {
        decide(Need::Create { is_folder: false }, ending, false, &mut facts)?;
    }
    if old.mount() != new.mount() && !old.is_open_file(flags) {
        new.parent()?;
        return Err(match new.mode() {
            Ok(_) => Errno(libc::EEXIST),
            Err(_) => Errno(libc::EXDEV),
        });
    }
    match is_folder(file) {
        true => Err(Errno(libc::EPERM)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::buffer::PathBuffer;
    use crate::paths::locate::{Found, Located};
    use core::ffi::CStr;
    use kinject_protocol::paths::Kind;

    fn at(mount: usize, kind: Kind, path: &'static CStr) -> Side<'static> {
        Side {
            folder: libc::AT_FDCWD,
            path,
            located: Located::Shadow(Found {
                kind,
                is_mount: false,
                is_own: true,
                mount,
                root: 0,
            }),
            buffer: buffer_with(path.to_bytes()),
        }
    }

    /// The mount at this path itself.
    fn mount(path: &'static CStr) -> Side<'static> {
        let mut side = at(1, Kind::Mirrored, path);
        if let Located::Shadow(found) = &mut side.located {
            found.is_mount = true;
        }
        side
    }

    fn native(path: &'static CStr) -> Side<'static> {
        Side {
            folder: libc::AT_FDCWD,
            path,
            located: Located::Native,
            buffer: PathBuffer::new(),
        }
    }

    fn buffer_with(path: &[u8]) -> PathBuffer {
        let mut buffer = PathBuffer::new();
        let room = buffer.room_behind(0).unwrap();
        room[..path.len()].copy_from_slice(path);
        buffer.set_length(path.len());
        buffer
    }

    #[test]
    fn nothing_is_renamed_across_mounts_or_in_one_that_is_read_only() {
        let mirrored = |path| at(1, Kind::Mirrored, path);
        let scratch = |path| at(2, Kind::Scratch, path);
        for (mut old, mut new, expected) in [
            (mirrored(c"/etc/a"), mirrored(c"/etc/b"), libc::EROFS),
            (mirrored(c"/etc/a"), native(c"/etc/b"), libc::EXDEV),
            (native(c"/etc/a"), mirrored(c"/etc/b"), libc::EXDEV),
            (mirrored(c"/etc/a"), scratch(c"/etc/b"), libc::EXDEV),
            (scratch(c"/etc/a"), native(c"/etc/b"), libc::EXDEV),
            (scratch(c"/etc/a"), scratch(c"/etc/b"), 0),
            (mirrored(c"/nowhere/a"), native(c"/etc/b"), libc::ENOENT),
            (mirrored(c"/etc/hostname/a"), native(c"/etc/b"), libc::ENOTDIR),
            (mirrored(c"/etc/."), mirrored(c"/etc/b"), libc::EBUSY),
            (mount(c"/usr/bin"), native(c"/b"), libc::EBUSY),
            (mount(c"/usr/bin"), mirrored(c"/etc/b"), libc::EXDEV),
            (native(c"/etc/passwd"), mount(c"/usr/bin"), libc::EISDIR),
            (native(c"/nowhere"), mount(c"/usr/bin"), libc::ENOENT),
            (native(c"/usr"), mount(c"/etc/passwd"), libc::ENOTDIR),
            (native(c"/usr"), mount(c"/usr/bin"), libc::EBUSY),
        ] {
            let decision = decide_rename(&mut old, &mut new).map_or_else(|error| error.0, |()| 0);
            assert_eq!(decision, expected, "{:?} {:?}", old.path, new.path);
        }
    }

    #[test]
    fn nothing_is_linked_across_mounts_or_in_one_that_is_read_only() {
        let mirrored = |path| at(1, Kind::Mirrored, path);
        let scratch = |path| at(2, Kind::Scratch, path);
        for (mut old, mut new, expected) in [
            (mirrored(c"/etc/passwd"), mirrored(c"/etc/none"), libc::EROFS),
            (mirrored(c"/etc/passwd"), mirrored(c"/etc/group"), libc::EEXIST),
            (mirrored(c"/etc/none"), mirrored(c"/etc/none"), libc::ENOENT),
            (mirrored(c"/etc/passwd"), native(c"/etc/none"), libc::EXDEV),
            (mirrored(c"/etc/passwd"), native(c"/etc/group"), libc::EEXIST),
            (native(c"/etc/passwd"), mirrored(c"/etc/none"), libc::EROFS),
            (native(c"/etc/passwd"), scratch(c"/etc/none"), libc::EXDEV),
            (scratch(c"/etc/passwd"), scratch(c"/etc/none"), 0),
            (scratch(c"/etc"), scratch(c"/etc/none"), libc::EPERM),
        ] {
            let decision = decide_link(&mut old, &mut new, 0).map_or_else(|error| error.0, |()| 0);
            assert_eq!(decision, expected, "{:?} {:?}", old.path, new.path);
        }
    }

    #[test]
    fn open_file_is_linked_where_the_kernel_permits_it() {
        const FOLLOW: c_int = libc::AT_SYMLINK_FOLLOW;
        let mirrored = |path| at(1, Kind::Mirrored, path);
        let scratch = |path| at(2, Kind::Scratch, path);
        for (old, mut new, flags, expected) in [
            (c"", scratch(c"/etc/none"), libc::AT_EMPTY_PATH, 0),
            (c"/proc/self/fd/3", scratch(c"/etc/none"), FOLLOW, 0),
            (c"/proc/self/fd/3", scratch(c"/etc/none"), 0, libc::EXDEV),
            (c"/etc/passwd", scratch(c"/etc/none"), FOLLOW, libc::EXDEV),
            (c"/proc/self/fd/3", mirrored(c"/etc/none"), FOLLOW, libc::EROFS),
        ] {
            let decision =
                decide_link(&mut native(old), &mut new, flags).map_or_else(|error| error.0, |()| 0);
            assert_eq!(decision, expected, "{old:?} {:?}", new.path);
        }
    }
}
