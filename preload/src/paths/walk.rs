//! ftw(3) and nftw(3). libc walks a tree below the shadow root by internal calls, and tells the program's function the
//! program's path of each file.
//!
//! These functions pass no pointer of the caller's on, so the program's function is kept for the thread. The relay
//! puts a remote tree there before: libc reads a folder after it has told of it.

use super::buffer::PathBuffer;
use super::fetch::fetch;
use super::locate::{Located, locate, put_in_shadow};
use super::table::{Table, is_absent};
use crate::errno::Errno;
use crate::memory;
use crate::real;
use crate::sys::PATH_SIZE;
use crate::thread_key::{Key, ThreadKey};
use core::ffi::CStr;
use core::ptr;
use kinject_protocol::control::FilePart;
use kinject_protocol::paths::Kind;
use libc::{c_char, c_int, c_void};

hook! {
    unsafe fn ftw(path: *const c_char, function: *const c_void, folders: c_int) -> c_int => hooked_ftw {
        ftw_in_session(path, function, folders)
    }
}

hook! {
    unsafe fn ftw64(path: *const c_char, function: *const c_void, folders: c_int) -> c_int => hooked_ftw64 {
        ftw64_in_session(path, function, folders)
    }
}

hook! {
    unsafe fn nftw(
        path: *const c_char, function: *const c_void, folders: c_int, flags: c_int
    ) -> c_int => hooked_nftw {
        nftw_in_session(path, function, folders, flags)
    }
}

hook! {
    unsafe fn nftw64(
        path: *const c_char, function: *const c_void, folders: c_int, flags: c_int
    ) -> c_int => hooked_nftw64 {
        nftw64_in_session(path, function, folders, flags)
    }
}

type Ftw = unsafe extern "C" fn(*const c_char, *const c_void, c_int) -> c_int;
type Nftw = unsafe extern "C" fn(*const c_char, *const c_void, c_int, c_int) -> c_int;

/// The program's functions.
type Told = unsafe extern "C" fn(*const c_char, *const c_void, c_int) -> c_int;
type ToldWithBase = unsafe extern "C" fn(*const c_char, *const c_void, c_int, *mut Base) -> c_int;

/// `struct FTW` of ftw.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct Base {
    base: c_int,
    level: c_int,
}

/// ftw.h: symbolic links are not followed.
const FTW_PHYS: c_int = 1;
/// ftw.h: the type of a folder.
const FTW_D: c_int = 1;

extern "C" fn ftw_in_session(path: *const c_char, function: *const c_void, folders: c_int) -> c_int {
    ftw_by(real::ftw.get(), path, function, folders)
}

extern "C" fn ftw64_in_session(path: *const c_char, function: *const c_void, folders: c_int) -> c_int {
    ftw_by(real::ftw64.get(), path, function, folders)
}

extern "C" fn nftw_in_session(
    path: *const c_char,
    function: *const c_void,
    folders: c_int,
    flags: c_int,
) -> c_int {
    nftw_by(real::nftw.get(), path, function, folders, flags)
}

extern "C" fn nftw64_in_session(
    path: *const c_char,
    function: *const c_void,
    folders: c_int,
    flags: c_int,
) -> c_int {
    nftw_by(real::nftw64.get(), path, function, folders, flags)
}

fn ftw_by(native: Option<Ftw>, path: *const c_char, function: *const c_void, folders: c_int) -> c_int {
    let Some(native) = native else {
        return Errno(libc::ENOSYS).fail();
    };
    // SAFETY: these are the program's own arguments, or a path and a function of ours
    walk(path, function, |path, is_told| unsafe {
        native(
            path,
            if is_told { tell as *const c_void } else { function },
            folders,
        )
    })
}

fn nftw_by(
    native: Option<Nftw>,
    path: *const c_char,
    function: *const c_void,
    folders: c_int,
    flags: c_int,
) -> c_int {
    let Some(native) = native else {
        return Errno(libc::ENOSYS).fail();
    };
    // SAFETY: as above
    walk(path, function, |path, is_told| unsafe {
        native(
            path,
            if is_told {
                tell_with_base as *const c_void
            } else {
                function
            },
            folders,
            flags,
        )
    })
}

/// One walk of a thread: a path that begins with `from` is told beginning with `to`.
struct Walk {
    function: *const c_void,
    from: usize,
    to: *const c_char,
    to_length: usize,
}

static WALK: ThreadKey = ThreadKey::new(leave);

/// A walk is on its function's stack.
extern "C" fn leave(_: *mut c_void) {}

#[inline]
fn walk(
    path: *const c_char,
    function: *const c_void,
    native: impl FnOnce(*const c_char, bool) -> c_int,
) -> c_int {
    if is_absent() || !memory::is_path_readable(path) {
        return native(path, false);
    }
    let mut buffer = PathBuffer::new();
    let elsewhere = match start(path, &mut buffer) {
        Ok(elsewhere) => elsewhere,
        Err(error) => return error.fail(),
    };
    let Some(elsewhere) = elsewhere else {
        return native(path, false);
    };
    let key = match WALK.get() {
        Ok(Some(key)) => key,
        Ok(None) => return Errno(libc::ENOSYS).fail(),
        Err(error) => return error.fail(),
    };
    let walk = Walk {
        function,
        // SAFETY: the path is ours, and ends with a null
        from: unsafe { CStr::from_ptr(elsewhere) }.count_bytes(),
        to: path,
        // SAFETY: the path can be read
        to_length: length_without_slashes(unsafe { CStr::from_ptr(path) }.to_bytes()),
    };
    // a walk inside another one's function
    let outer = key.value();
    if let Err(error) = key.set((&raw const walk).cast()) {
        return error.fail();
    }
    let result = native(elsewhere, true);
    restore(key, outer);
    result
}

/// The length of a path as libc tells it, without the slashes at its end.
fn length_without_slashes(path: &[u8]) -> usize {
    match path.iter().rposition(|byte| *byte != b'/') {
        Some(last) => last.saturating_add(1),
        None => path.len().min(1),
    }
}

fn restore(key: Key, outer: *mut c_void) {
    // a thread that has a value can set another one
    let _is_set = key.set(outer).is_ok();
}

/// The path that libc walks, if it is not the program's; what is remote is there.
#[inline(never)]
fn start(path: *const c_char, buffer: &mut PathBuffer) -> Result<Option<*const c_char>, Errno> {
    // SAFETY: the path can be read
    let text = unsafe { CStr::from_ptr(path) }.to_bytes();
    let Some(table) = Table::current().filter(|table| table.may_concern(text, false)) else {
        return Ok(None);
    };
    let located = locate(&table, libc::AT_FDCWD, text, buffer)?;
    match located {
        Located::Native => Ok(None),
        Located::Elsewhere => Ok(Some(buffer.as_pointer(false))),
        Located::Parent(above) => {
            if !above.is_elsewhere && crate::sys::mode_at(libc::AT_FDCWD, path, 0) != Err(Errno(libc::ENOENT))
            {
                return Ok(None);
            }
            put_in_shadow(&table, above, buffer).ok_or(Errno(libc::ENOENT))?;
            Ok(Some(buffer.as_pointer(false)))
        }
        Located::Shadow(found) => {
            if found.kind == Kind::Remote {
                fetch_tree(buffer, found.root)?;
            }
            Ok((!found.is_own).then(|| buffer.as_pointer(false)))
        }
    }
}

/// Lets the relay put a whole remote tree below the shadow root.
#[cold]
fn fetch_tree(buffer: &mut PathBuffer, root: usize) -> Result<(), Errno> {
    const FOLDERS: c_int = 16;
    fetch(FilePart::Status, buffer.path().get(root..).unwrap_or_default())?;
    let native = real::nftw.get().ok_or(Errno(libc::ENOSYS))?;
    // SAFETY: the path is ours, and the function has the signature that libc calls
    match unsafe {
        native(
            buffer.as_pointer(false),
            fetch_entries as *const c_void,
            FOLDERS,
            FTW_PHYS,
        )
    } {
        0 => Ok(()),
        -1 => Err(Errno::current()),
        error => Err(Errno(error)),
    }
}

/// Lets the relay put a folder's entries there, before libc reads it; an error number ends the walk. Of a folder that
/// cannot be read, or is gone, libc itself tells the program.
extern "C" fn fetch_entries(path: *const c_char, _: *const c_void, kind: c_int, _: *mut Base) -> c_int {
    if kind != FTW_D {
        return 0;
    }
    // SAFETY: libc gives a C string
    let text = unsafe { CStr::from_ptr(path) }.to_bytes();
    let paths = Table::current().and_then(|table| table.paths());
    match paths.and_then(|paths| paths.without_root(text)) {
        Some(known) => match fetch(FilePart::Entries, known) {
            Ok(()) | Err(Errno(libc::EACCES | libc::ENOENT | libc::ENOTDIR)) => 0,
            Err(Errno(error)) => error,
        },
        None => 0,
    }
}

/// Tells the program's function, for ftw(3).
extern "C" fn tell(path: *const c_char, status: *const c_void, kind: c_int) -> c_int {
    with_told_path(path, |function, path, _| {
        // SAFETY: the program passed a function of this signature
        let function = unsafe { core::mem::transmute::<*const c_void, Told>(function) };
        // SAFETY: the path is a C string, the rest is libc's
        unsafe { function(path, status, kind) }
    })
}

/// The same for nftw(3).
extern "C" fn tell_with_base(
    path: *const c_char,
    status: *const c_void,
    kind: c_int,
    base: *mut Base,
) -> c_int {
    with_told_path(path, |function, path, shift| {
        // SAFETY: as above
        let function = unsafe { core::mem::transmute::<*const c_void, ToldWithBase>(function) };
        // SAFETY: libc gives the structure
        let mut told = unsafe { *base };
        told.base = told.base.wrapping_add(shift);
        // SAFETY: as above
        unsafe { function(path, status, kind, &raw mut told) }
    })
}

/// Calls `with` with the program's function, the path that it is told, and by how much that is longer.
fn with_told_path(
    path: *const c_char,
    with: impl FnOnce(*const c_void, *const c_char, c_int) -> c_int,
) -> c_int {
    let walk = WALK.get().ok().flatten().map_or(ptr::null_mut(), Key::value);
    let walk = walk.cast_const().cast::<Walk>();
    if walk.is_null() {
        return Errno(libc::ENOMEM).fail();
    }
    // SAFETY: `walk` set the value, and its frame lives while libc walks
    let walk = unsafe { &*walk };
    // SAFETY: libc gives a C string, which begins with the path that it was given
    let rest = unsafe { CStr::from_ptr(path.wrapping_add(walk.from)) }.to_bytes_with_nul();
    let mut told = [0_u8; 2 * PATH_SIZE];
    // SAFETY: the program's path lives while libc walks
    let to = unsafe { core::slice::from_raw_parts(walk.to.cast::<u8>(), walk.to_length) };
    // a null stays at the end
    let fields = told.iter_mut().take(2 * PATH_SIZE - 1);
    for (field, byte) in fields.zip(to.iter().chain(rest)) {
        *field = *byte;
    }
    let shift = (walk.to_length as c_int).wrapping_sub(walk.from as c_int);
    with(walk.function, told.as_ptr().cast(), shift)
}
