//! The functions that take two paths: rename(2), link(2), symlink(2) and their other names.
//!
//! In a container each mount is a file system of its own, across whose border nothing is renamed or linked. The
//! errors come in the kernel's order (do_renameat2 and do_linkat in fs/namei.c).

use super::buffer::PathBuffer;
use super::call::{Native, ShadowFacts, run};
use super::decision::{Facts, LookUp, decide, is_folder};
use super::locate::{Ending, Found, Located, locate};
use super::spec::{Action, Failure, Need, Spec, argument};
use super::table::{Table, is_absent};
use crate::errno::Errno;
use crate::memory;
use crate::real;
use crate::sys;
use core::ffi::CStr;
use kinject_protocol::paths::Kind;
use libc::{c_char, c_int, c_uint};

hook! {
    unsafe fn rename(old: *const c_char, new: *const c_char) -> c_int => hooked_rename {
        rename_in_session(old, new)
    }
}

hook! {
    unsafe fn renameat(
        old_folder: c_int, old: *const c_char, new_folder: c_int, new: *const c_char
    ) -> c_int => hooked_renameat {
        renameat_in_session(old_folder, old, new_folder, new)
    }
}

hook! {
    unsafe fn renameat2(
        old_folder: c_int, old: *const c_char, new_folder: c_int, new: *const c_char, flags: c_uint
    ) -> c_int => hooked_renameat2 {
        renameat2_in_session(old_folder, old, new_folder, new, flags)
    }
}

hook! {
    unsafe fn link(old: *const c_char, new: *const c_char) -> c_int => hooked_link {
        hard_link_in_session(old, new)
    }
}

hook! {
    unsafe fn linkat(
        old_folder: c_int, old: *const c_char, new_folder: c_int, new: *const c_char, flags: c_int
    ) -> c_int => hooked_linkat {
        linkat_in_session(old_folder, old, new_folder, new, flags)
    }
}

hook! {
    unsafe fn symlink(target: *const c_char, path: *const c_char) -> c_int => hooked_symlink {
        symlink_in_session(target, path)
    }
}

hook! {
    unsafe fn symlinkat(target: *const c_char, folder: c_int, path: *const c_char) -> c_int => hooked_symlinkat {
        symlinkat_in_session(target, folder, path)
    }
}

/// What is done with two paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Two {
    Rename,
    Link,
}

/// Where the two paths are among the arguments, each behind its folder, if it has one.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    old_folder: Option<u8>,
    old: u8,
    new_folder: Option<u8>,
    new: u8,
}

impl Pair {
    pub(crate) const PATHS: Self = Self {
        old_folder: None,
        old: 0,
        new_folder: None,
        new: 1,
    };
    pub(crate) const AT: Self = Self {
        old_folder: Some(0),
        old: 1,
        new_folder: Some(2),
        new: 3,
    };

    /// The flags of linkat(2), which follow the paths; link(2) has none.
    fn link_flags(self, arguments: &[usize; 6]) -> c_int {
        match self.new_folder {
            Some(_) => argument(arguments, self.new + 1) as c_int,
            None => 0,
        }
    }
}

extern "C" fn rename_in_session(old: *const c_char, new: *const c_char) -> c_int {
    let native = real::rename.get().map(|native| native as usize);
    by_function(native, super::arguments![old, new], Two::Rename, Pair::PATHS)
}

extern "C" fn renameat_in_session(
    old_folder: c_int,
    old: *const c_char,
    new_folder: c_int,
    new: *const c_char,
) -> c_int {
    let native = real::renameat.get().map(|native| native as usize);
    let arguments = super::arguments![old_folder, old, new_folder, new];
    by_function(native, arguments, Two::Rename, Pair::AT)
}

extern "C" fn renameat2_in_session(
    old_folder: c_int,
    old: *const c_char,
    new_folder: c_int,
    new: *const c_char,
    flags: c_uint,
) -> c_int {
    let native = real::renameat2.get().map(|native| native as usize);
    let arguments = super::arguments![old_folder, old, new_folder, new, flags];
    by_function(native, arguments, Two::Rename, Pair::AT)
}

extern "C" fn hard_link_in_session(old: *const c_char, new: *const c_char) -> c_int {
    let native = real::link.get().map(|native| native as usize);
    by_function(native, super::arguments![old, new], Two::Link, Pair::PATHS)
}

extern "C" fn linkat_in_session(
    old_folder: c_int,
    old: *const c_char,
    new_folder: c_int,
    new: *const c_char,
    flags: c_int,
) -> c_int {
    let native = real::linkat.get().map(|native| native as usize);
    let arguments = super::arguments![old_folder, old, new_folder, new, flags];
    by_function(native, arguments, Two::Link, Pair::AT)
}

extern "C" fn symlink_in_session(target: *const c_char, path: *const c_char) -> c_int {
    let Some(native) = real::symlink.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    let native = Native::Function(native as usize);
    link_named_in_session(native, super::arguments![target, path], None, 1) as c_int
}

extern "C" fn symlinkat_in_session(target: *const c_char, folder: c_int, path: *const c_char) -> c_int {
    let Some(native) = real::symlinkat.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    let native = Native::Function(native as usize);
    link_named_in_session(native, super::arguments![target, folder, path], Some(1), 2) as c_int
}

fn by_function(native: Option<usize>, arguments: [usize; 6], what: Two, pair: Pair) -> c_int {
    match native {
        Some(native) => pair_in_session(Native::Function(native), arguments, what, pair) as c_int,
        None => Errno(libc::ENOSYS).fail(),
    }
}

/// Makes a call with two paths.
pub(crate) fn pair_in_session(native: Native, arguments: [usize; 6], what: Two, pair: Pair) -> usize {
    if is_absent() {
        return native.call(&arguments);
    }
    redirect(native, arguments, what, pair)
}

/// One of two paths.
struct Side<'a> {
    folder: c_int,
    path: &'a CStr,
    located: Located,
    buffer: PathBuffer,
}

#[inline(never)]
fn redirect(native: Native, mut arguments: [usize; 6], what: Two, pair: Pair) -> usize {
    let [old, new] = [pair.old, pair.new].map(|position| argument(&arguments, position) as *const c_char);
    let is_readable = memory::is_path_readable(old) && memory::is_path_readable(new);
    let Some(table) = Table::current().filter(|_| is_readable) else {
        return native.call(&arguments);
    };
    let folder = |position: Option<u8>| match position {
        Some(position) => argument(&arguments, position) as c_int,
        None => libc::AT_FDCWD,
    };
    // SAFETY: the paths can be read
    let [old, new] = [old, new].map(|path| unsafe { CStr::from_ptr(path) });
    if ![old, new]
        .iter()
        .any(|path| table.may_concern(path.to_bytes(), true))
    {
        return native.call(&arguments);
    }
    let fail = |error| Failure::MinusOne.fail(error);
    let (mut old, mut new) = match (
        side(&table, folder(pair.old_folder), old),
        side(&table, folder(pair.new_folder), new),
    ) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(error), _) | (_, Err(error)) => return fail(error),
    };
    let decision = match what {
        Two::Rename => decide_rename(&mut old, &mut new),
        Two::Link => decide_link(&mut old, &mut new, pair.link_flags(&arguments)),
    };
    if let Err(error) = decision {
        return fail(error);
    }
    for (side, folder, path) in [
        (&mut old, pair.old_folder, pair.old),
        (&mut new, pair.new_folder, pair.new),
    ] {
        let is_own = match side.located {
            Located::Native => true,
            Located::Parent(above) => !above.is_elsewhere,
            Located::Elsewhere | Located::Shadow(_) => false,
        };
        if is_own {
            continue;
        }
        let other = side.buffer.as_pointer(side.ending().needs_folder());
        put(&mut arguments, Some(path), other as usize);
        put(&mut arguments, folder, libc::AT_FDCWD as usize);
    }
    native.call(&arguments)
}

fn put(arguments: &mut [usize; 6], position: Option<u8>, value: usize) {
    if let Some(position) = position
        && let Some(field) = arguments.get_mut(usize::from(position))
    {
        *field = value;
    }
}

fn side<'a>(table: &Table, folder: c_int, path: &'a CStr) -> Result<Side<'a>, Errno> {
    let mut buffer = PathBuffer::new();
    let located = match path.to_bytes() {
        [] => Located::Native,
        text => locate(table, folder, text, &mut buffer)?,
    };
    Ok(Side {
        folder,
        path,
        located,
        buffer,
    })
}

impl Side<'_> {
    fn ending(&self) -> Ending {
        Ending::of(self.path.to_bytes())
    }

    /// The type and mode of what it names.
    fn mode(&mut self) -> Result<u32, Errno> {
        match self.facts() {
            Some(mut facts) => facts.mode(LookUp::Name),
            None => sys::mode_at(self.folder, self.path.as_ptr(), libc::AT_SYMLINK_NOFOLLOW),
        }
    }

    fn found(&self) -> Option<Found> {
        match self.located {
            Located::Shadow(found) => Some(found),
            Located::Native | Located::Elsewhere | Located::Parent(_) => None,
        }
    }

    fn facts(&mut self) -> Option<ShadowFacts<'_>> {
        let found = self.found()?;
        Some(ShadowFacts {
            found,
            ending: self.ending(),
            buffer: &mut self.buffer,
        })
    }

    /// Whether it names an open file, which may have no path: one of `O_TMPFILE` is linked so (open(2)).
    fn is_open_file(&self, flags: c_int) -> bool {
        let path = self.path.to_bytes();
        path.is_empty() || flags & libc::AT_SYMLINK_FOLLOW != 0 && path.starts_with(b"/proc/self/fd/")
    }

    /// Where it is, as far as that is one file system in the container.
    fn mount(&self) -> Option<usize> {
        self.found().map(|found| found.mount)
    }

    fn is_read_only(&self) -> bool {
        self.found().is_some_and(|found| found.kind != Kind::Scratch)
    }

    /// Whether there is a folder for it; of this machine's the kernel says so.
    fn parent(&mut self) -> Result<(), Errno> {
        self.facts().map_or(Ok(()), |mut facts| facts.parent())
    }
}

/// Decides whether rename(2) is called. A mount itself is a name in the folder above it, on another file system.
fn decide_rename(old: &mut Side<'_>, new: &mut Side<'_>) -> Result<(), Errno> {
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
fn decide_link(old: &mut Side<'_>, new: &mut Side<'_>, flags: c_int) -> Result<(), Errno> {
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
        return Err(Errno(libc::EXDEV));
    }
    match is_folder(file) {
        true => Err(Errno(libc::EPERM)),
        false => Ok(()),
    }
}

/// Makes a symbolic link. A target below the shadow root has its path there, by which the kernel follows it.
pub(crate) fn link_named_in_session(
    native: Native,
    mut arguments: [usize; 6],
    folder: Option<u8>,
    path: u8,
) -> usize {
    let spec = Spec {
        folder,
        path,
        action: Action::Create,
        failure: Failure::MinusOne,
    };
    if is_absent() {
        return native.call(&arguments);
    }
    let mut buffer = PathBuffer::new();
    if let Some(target) = target_in_shadow(&arguments, spec, &mut buffer) {
        put(&mut arguments, Some(0), target as usize);
    }
    run(native, arguments, spec)
}

#[inline(never)]
fn target_in_shadow(arguments: &[usize; 6], spec: Spec, buffer: &mut PathBuffer) -> Option<*const c_char> {
    let [target, path] = [0, spec.path].map(|position| argument(arguments, position) as *const c_char);
    let table = Table::current()?;
    if !memory::is_path_readable(target) || !memory::is_path_readable(path) {
        return None;
    }
    // SAFETY: they can be read
    let [target, path] = [target, path].map(|text| unsafe { CStr::from_ptr(text) }.to_bytes());
    let is_scratch = |located| matches!(located, Ok(Located::Shadow(found)) if found.kind == Kind::Scratch);
    if !target.starts_with(b"/") || !table.may_concern(target, true) || !table.may_concern(path, true) {
        return None;
    }
    let folder = match spec.folder {
        Some(position) => argument(arguments, position) as c_int,
        None => libc::AT_FDCWD,
    };
    if !is_scratch(locate(&table, folder, path, buffer)) {
        return None;
    }
    match locate(&table, libc::AT_FDCWD, target, buffer) {
        Ok(Located::Shadow(_)) => Some(buffer.as_pointer(Ending::of(target).needs_folder())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
