//! The functions that take two paths of files: rename(2), link(2) and their other names. What [`decide`] lets pass is
//! called with the paths below the shadow root.

mod decide;

use super::buffer::PathBuffer;
use super::call::{Native, ShadowFacts};
use super::decision::{Facts, LookUp};
use super::locate::{Ending, Found, Located, locate};
use super::spec::{Failure, argument};
use super::table::{Table, is_absent};
use crate::errno::Errno;
use crate::memory;
use crate::real;
use crate::sys;
use core::ffi::CStr;
use decide::{decide_link, decide_rename};
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

/// Changes the argument at a position, if there is one.
pub(super) fn put(arguments: &mut [usize; 6], position: Option<u8>, value: usize) {
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
