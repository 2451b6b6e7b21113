//! One call of the program's, made of the machine's file or of one below the shadow root.

mod indirect;

use super::buffer::PathBuffer;
use super::decision::{Facts, LookUp, decide, is_folder};
use super::fetch::fetch;
use super::locate::{Above, Ending, Found, Located, locate, put_in_shadow};
use super::open_file::is_descriptor;
use super::spec::{Failure, Need, Spec, argument};
use super::table::{Table, is_absent};
use crate::errno::Errno;
use crate::memory;
use crate::real;
use crate::sys;
use core::ffi::CStr;
use kinject_protocol::control::FilePart;
use kinject_protocol::paths::Kind;
use libc::{c_char, c_int, c_long};

/// How a call is made. A function gets six arguments, as syscall(2) does: on the supported machines those that it does
/// not have are registers that it does not look at (System V ABI for x86-64, 3.2.3; AAPCS64).
#[derive(Clone, Copy)]
pub(crate) enum Native {
    /// By a function of libc, at this address.
    Function(usize),
    /// By syscall(2) with this number.
    Number(c_long),
}

/// The six arguments as a function gets them.
type Six = unsafe extern "C" fn(usize, usize, usize, usize, usize, usize) -> usize;

impl Native {
    #[inline]
    pub(crate) fn call(self, arguments: &[usize; 6]) -> usize {
        let [a, b, c, d, e, f] = *arguments;
        match self {
            Self::Function(address) => {
                // SAFETY: the address is that of a function, whose arguments and result are whole numbers or pointers
                let function = unsafe { core::mem::transmute::<usize, Six>(address) };
                // SAFETY: these are the program's own arguments, or a path of ours that lives until the call is over
                unsafe { function(a, b, c, d, e, f) }
            }
            Self::Number(number) => match real::syscall.get() {
                // SAFETY: as above
                Some(native) => (unsafe { native(number, a, b, c, d, e, f) }) as usize,
                None => Failure::MinusOne.fail(Errno(libc::ENOSYS)),
            },
        }
    }
}

impl Failure {
    /// Sets `errno` and returns what says so.
    pub(super) fn fail(self, error: Errno) -> usize {
        error.set();
        match self {
            Self::MinusOne => usize::MAX,
            Self::Null => 0,
        }
    }

    /// Whether a function that returned this has failed.
    pub(super) fn is(self, result: usize) -> bool {
        match self {
            // the upper half of a register that holds an int means nothing
            Self::MinusOne => result as c_int == -1,
            Self::Null => result == 0,
        }
    }
}

/// Makes a call of the program's.
#[inline]
pub(crate) fn run(native: Native, arguments: [usize; 6], spec: Spec) -> usize {
    if is_absent() {
        return native.call(&arguments);
    }
    run_by_table(native, &arguments, &spec)
}

#[inline(never)]
fn run_by_table(native: Native, arguments: &[usize; 6], spec: &Spec) -> usize {
    let table = Table::current();
    let need = table.and_then(|_| spec.action.need(arguments));
    let (Some(table), Some(need)) = (table, need) else {
        return native.call(arguments);
    };
    let before = Errno::current();
    let path = argument(arguments, spec.path) as *const c_char;
    let done = if spec.is_harmless(need) {
        // the kernel checks the pointer, which costs less than to ask whether it can be read
        let done = native.call(arguments);
        if !has_kernel_read(path, !spec.failure.is(done), Errno::current) {
            return done;
        }
        Some(done)
    } else if memory::is_path_readable(path) {
        None
    } else {
        return native.call(arguments);
    };
    // SAFETY: the path can be read; one that is longer than any path can be read so far, and is compared no further
    let text = unsafe { CStr::from_ptr(path) }.to_bytes();
    // what a confined call's path is relative to, its text does not say
    let may_concern =
        table.may_concern(text, need.is_located()) || !text.is_empty() && spec.action.is_confined(arguments);
    let by_descriptor = (matches!(need, Need::Open(_)) || need.writes()) && is_descriptor(text);
    if !may_concern && !by_descriptor {
        return done.unwrap_or_else(|| native.call(arguments));
    }
    let call = Call {
        native,
        arguments: *arguments,
        spec: *spec,
        need,
        done,
        before,
    };
    match may_concern {
        true => call.redirect(&table, text),
        false => call.by_descriptor(&table, text),
    }
}

/// Whether the kernel has read a path, so that it can be read here.
fn has_kernel_read(path: *const c_char, is_done: bool, error: impl FnOnce() -> Errno) -> bool {
    // a call about a descriptor alone needs no path (AT_EMPTY_PATH)
    if path.is_null() {
        return false;
    }
    is_done
        || match error().0 {
            libc::ENOENT | libc::EACCES | libc::ENOTDIR | libc::ELOOP => true,
            libc::EFAULT => false,
            _ => memory::is_path_readable(path),
        }
}

/// A call that may be about a file below the shadow root.
struct Call {
    native: Native,
    arguments: [usize; 6],
    spec: Spec,
    need: Need,
    /// The result of the call as the program made it, if it was made.
    done: Option<usize>,
    /// `errno` before.
    before: Errno,
}

impl Call {
    #[cold]
    #[inline(never)]
    fn redirect(mut self, table: &Table, path: &[u8]) -> usize {
        let folder = match self.spec.folder {
            Some(position) => argument(&self.arguments, position) as c_int,
            None => libc::AT_FDCWD,
        };
        let ending = Ending::of(path);
        let mut buffer = PathBuffer::new();
        let located = locate(table, folder, path, &mut buffer);
        if self.spec.action.is_confined(&self.arguments) && !stays_below(path, &located) {
            return self.confined(table, folder, path, &located);
        }
        match located {
            Ok(Located::Native) => self.by_descriptor(table, path),
            Ok(Located::Elsewhere) => {
                self.undo();
                self.at(buffer.as_pointer(ending.needs_folder()))
            }
            Ok(Located::Parent(above)) => self.parent(above, ending, table, &mut buffer),
            Ok(Located::Shadow(found)) => self.shadow(found, ending, &mut buffer),
            Err(error) => {
                self.undo();
                self.spec.failure.fail(error)
            }
        }
    }

    fn native_result(&self) -> usize {
        self.done.unwrap_or_else(|| self.native.call(&self.arguments))
    }

    /// Takes back what was done of the machine's file.
    fn undo(&mut self) {
        let Some(done) = self.done.take() else { return };
        if matches!(self.need, Need::Open(_)) && !self.spec.failure.is(done) {
            sys::close(done as c_int);
        }
        self.before.set();
    }

    /// Makes the call of another path.
    fn at(&mut self, path: *const c_char) -> usize {
        if let Some(field) = self.arguments.get_mut(usize::from(self.spec.path)) {
            *field = path as usize;
        }
        if let Some(folder) = self.spec.folder
            && let Some(field) = self.arguments.get_mut(usize::from(folder))
        {
            *field = libc::AT_FDCWD as usize;
        }
        self.native.call(&self.arguments)
    }

    /// Makes the call of the machine's file or, if there is none, of the shadow root's folder.
    fn parent(mut self, above: Above, ending: Ending, table: &Table, buffer: &mut PathBuffer) -> usize {
        let result = if above.is_elsewhere {
            self.undo();
            self.at(buffer.as_pointer(ending.needs_folder()))
        } else {
            self.native_result()
        };
        let is_missing = self.spec.failure.is(result) && Errno::current() == Errno(libc::ENOENT);
        if self.need.writes() || !is_missing {
            return result;
        }
        let missing = Errno(libc::ENOENT);
        let Some(root) = put_in_shadow(table, above, buffer) else {
            return self.spec.failure.fail(missing);
        };
        if above.kind == Kind::Remote && fetch_at(FilePart::Status, buffer, root).is_err() {
            return self.spec.failure.fail(missing);
        }
        self.before.set();
        let result = self.at(buffer.as_pointer(true));
        if self.spec.failure.is(result) && !matches!(self.need, Need::Access(_)) {
            return self.spec.failure.fail(missing);
        }
        result
    }

    fn shadow(mut self, found: Found, ending: Ending, buffer: &mut PathBuffer) -> usize {
        // a descriptor that is closed drops the process's locks of the file (fcntl(2)), or breaks a FIFO
        if found.is_own
            && found.kind != Kind::Remote
            && let Some(done) = self.done
        {
            return self.refuse_writing(found, done);
        }
        self.undo();
        let failure = self.spec.failure;
        if found.kind != Kind::Scratch {
            let is_mount = found.is_mount;
            let mut facts = ShadowFacts {
                found,
                ending,
                buffer: &mut *buffer,
            };
            if let Err(error) = decide(self.need, ending, is_mount, &mut facts) {
                return failure.fail(error);
            }
        }
        if found.kind == Kind::Remote
            && let Err(error) = fetch_at(part(self.need), buffer, found.root)
        {
            return failure.fail(error);
        }
        let result = match found.is_own {
            true => self.native.call(&self.arguments),
            false => self.at(buffer.as_pointer(ending.needs_folder())),
        };
        self.refuse_writing(found, result)
    }

    /// The result of a call, unless that permits to write to a mount that is read-only.
    fn refuse_writing(&self, found: Found, result: usize) -> usize {
        let failure = self.spec.failure;
        match found.kind != Kind::Scratch && self.need.asks_to_write() && !failure.is(result) {
            true => failure.fail(Errno(libc::EROFS)),
            false => result,
        }
    }
}

/// Whether a path that may not leave its folder (openat2(2)) is one below a folder of the shadow root. Of any other the
/// kernel decides: no path of ours has the same limits.
fn stays_below(path: &[u8], located: &Result<Located, Errno>) -> bool {
    let leads_up = path
        .split(|byte| *byte == b'/')
        .any(|component| component == b"..");
    let is_relative = !path.starts_with(b"/");
    is_relative && !leads_up && matches!(located, Ok(Located::Shadow(found)) if found.is_own)
}

/// What a call needs of a remote file.
fn part(need: Need) -> FilePart {
    match need {
        Need::List => FilePart::Entries,
        Need::Open(flags) if flags & libc::O_PATH != 0 => FilePart::Status,
        Need::Open(flags) if flags & libc::O_DIRECTORY != 0 => FilePart::Entries,
        Need::Open(_) => FilePart::Content,
        _ => FilePart::Status,
    }
}

/// Asks the relay for a part of the remote file in the buffer.
pub(super) fn fetch_at(part: FilePart, buffer: &PathBuffer, root: usize) -> Result<(), Errno> {
    fetch(part, buffer.path().get(root..).unwrap_or_default())
}

/// A file below the shadow root, for the decision about it.
pub(super) struct ShadowFacts<'a> {
    pub(super) found: Found,
    pub(super) ending: Ending,
    pub(super) buffer: &'a mut PathBuffer,
}

impl Facts for ShadowFacts<'_> {
    fn mode(&mut self, look_up: LookUp) -> Result<u32, Errno> {
        if self.found.kind == Kind::Remote {
            fetch_at(FilePart::Status, self.buffer, self.found.root)?;
        }
        let flags = match look_up {
            LookUp::Followed => 0,
            LookUp::Link | LookUp::Name => libc::AT_SYMLINK_NOFOLLOW,
        };
        let needs_folder = self.ending.needs_folder() && look_up != LookUp::Name;
        sys::mode_at(libc::AT_FDCWD, self.buffer.as_pointer(needs_folder), flags)
    }

    fn parent(&mut self) -> Result<(), Errno> {
        let found = self.found;
        self.buffer.with_parent(|buffer| {
            if found.kind == Kind::Remote && !found.is_mount {
                fetch_at(FilePart::Status, buffer, found.root)?;
            }
            match sys::mode_at(libc::AT_FDCWD, buffer.as_pointer(false), 0)? {
                mode if is_folder(mode) => Ok(()),
                _ => Err(Errno(libc::ENOTDIR)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confined_path_is_redirected_only_below_a_folder_of_the_shadow_root() {
        let found = |is_own| {
            Ok(Located::Shadow(Found {
                kind: Kind::Remote,
                is_mount: false,
                is_own,
                mount: 0,
                root: 0,
            }))
        };
        assert!(stays_below(b"sub/..file", &found(true)));
        assert!(!stays_below(b"sub/file", &found(false)));
        assert!(!stays_below(b"sub/../file", &found(true)));
        assert!(!stays_below(b"/sub", &found(true)));
        assert!(!stays_below(b"sub", &Ok(Located::Native)));
    }

    #[test]
    fn path_of_failed_call_is_read_here_only_if_it_can_be() {
        let (path, invalid) = (c"/a".as_ptr(), core::ptr::without_provenance(8));
        assert!(has_kernel_read(path, true, || panic!("errno was read")));
        assert!(!has_kernel_read(core::ptr::null(), true, || Errno(0)));
        for error in [
            libc::ENOENT,
            libc::EACCES,
            libc::ENOTDIR,
            libc::ELOOP,
            libc::EINVAL,
        ] {
            assert!(has_kernel_read(path, false, || Errno(error)), "{error}");
        }
        for error in [libc::EFAULT, libc::EINVAL, libc::EMFILE] {
            assert!(!has_kernel_read(invalid, false, || Errno(error)), "{error}");
        }
    }

    #[test]
    fn failure_is_told_by_the_lower_half_of_a_register() {
        assert!(Failure::MinusOne.is(usize::MAX) && Failure::MinusOne.is(0xffff_ffff));
        assert!(!Failure::MinusOne.is(0) && !Failure::MinusOne.is(7));
        assert!(Failure::Null.is(0) && !Failure::Null.is(8));
    }
}
