//! What a function does with a path: which of its arguments is what.

use crate::memory;
use core::ffi::CStr;
use libc::{c_char, c_int};

/// The position of an argument.
type Position = u8;

/// A function that takes a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    /// The folder of a relative path; none for the working directory.
    pub(crate) folder: Option<Position>,
    pub(crate) path: Position,
    pub(crate) action: Action,
    pub(crate) failure: Failure,
}

impl Spec {
    /// A function whose first argument is the path, and which returns -1 if it fails.
    pub(crate) const fn path(action: Action) -> Self {
        Self {
            folder: None,
            path: 0,
            action,
            failure: Failure::MinusOne,
        }
    }

    /// The same with a folder before the path.
    pub(crate) const fn at(action: Action) -> Self {
        Self {
            folder: Some(0),
            path: 1,
            ..Self::path(action)
        }
    }

    /// The same function with this many arguments before the folder and the path.
    pub(crate) const fn after(self, count: Position) -> Self {
        Self {
            folder: match self.folder {
                Some(folder) => Some(folder + count),
                None => None,
            },
            path: self.path + count,
            ..self
        }
    }

    /// The same with a pointer as result, which is null if it fails.
    pub(crate) const fn with_pointer(self) -> Self {
        Self {
            failure: Failure::Null,
            ..self
        }
    }

    /// How the function tells that it failed.
    #[cfg(not(test))]
    pub(super) const fn failure(self) -> Failure {
        self.failure
    }

    /// Whether a call can be made of the machine's file first, without harm if it was about another. One that opens a
    /// stream cannot: the stream would have to be closed by libc, and freopen(3) has closed the former file then.
    pub(super) fn is_harmless(&self, need: Need) -> bool {
        need.is_harmless() && !matches!(self.action, Action::Stream(_))
    }
}

/// How a function tells that it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// By -1 and `errno`.
    MinusOne,
    /// By null and `errno`.
    Null,
}

#[cfg(not(test))]
impl Failure {
    /// Itself: for functions whose only description is how they fail.
    pub(super) const fn failure(self) -> Self {
        self
    }
}

/// What a function does; a position is that of the argument that tells.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// It asks, without any effect (stat(2), readlink(2)).
    Ask,
    /// It asks whether a kind of access is permitted (access(2)).
    Access(Position),
    /// It reads, and has an effect on the process (chdir(2)).
    Use,
    /// It lists a folder (opendir(3)).
    List,
    /// It opens by these flags (open(2)).
    Open(Position),
    /// It opens by such a structure (openat2(2)).
    OpenHow(Position),
    /// It opens by such a mode (fopen(3)).
    Stream(Position),
    /// It creates a file and opens it for writing (creat(2)).
    OpenNew,
    /// It creates something that is no folder (mknod(2)).
    Create,
    /// It creates a folder.
    CreateFolder,
    /// It removes what is no folder (unlink(2)).
    Remove,
    /// It removes a folder.
    RemoveFolder,
    /// It removes by these flags (unlinkat(2)).
    RemoveBy(Position),
    /// It removes whatever it is (remove(3)).
    RemoveAny,
    /// It changes what is there (chmod(2)).
    Change,
    /// The same of a link itself (lchown(2)).
    ChangeLink,
    /// The same by `AT_SYMLINK_NOFOLLOW` in these flags (fchownat(2)).
    ChangeBy(Position),
    /// It changes a file's length.
    Truncate,
}

/// What one call needs of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Ask,
    Access(c_int),
    Use,
    List,
    Open(c_int),
    Create { is_folder: bool },
    Remove(Removal),
    Change { follows: bool },
    Truncate,
}

/// What may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    Folder,
    NoFolder,
    Any,
}

/// The flags of creat(2).
const NEW: c_int = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;

impl Action {
    /// What a call with these arguments needs; none if the kernel has to see it as it is.
    pub(super) fn need(self, arguments: &[usize; 6]) -> Option<Need> {
        let flags = |position: Position| argument(arguments, position) as c_int;
        Some(match self {
            Self::Ask => Need::Ask,
            Self::Access(mode) => Need::Access(flags(mode)),
            Self::Use => Need::Use,
            Self::List => Need::List,
            Self::Open(position) => Need::Open(flags(position)),
            Self::OpenHow(position) => Need::Open(open_how(argument(arguments, position) as *const u64)?.0),
            Self::Stream(position) => {
                Need::Open(stream_flags(argument(arguments, position) as *const c_char))
            }
            Self::OpenNew => Need::Open(NEW),
            Self::Create => Need::Create { is_folder: false },
            Self::CreateFolder => Need::Create { is_folder: true },
            Self::Remove => Need::Remove(Removal::NoFolder),
            Self::RemoveFolder => Need::Remove(Removal::Folder),
            Self::RemoveBy(position) => Need::Remove(match flags(position) & libc::AT_REMOVEDIR {
                0 => Removal::NoFolder,
                _ => Removal::Folder,
            }),
            Self::RemoveAny => Need::Remove(Removal::Any),
            Self::Change => Need::Change { follows: true },
            Self::ChangeLink => Need::Change { follows: false },
            Self::ChangeBy(position) => Need::Change {
                follows: flags(position) & libc::AT_SYMLINK_NOFOLLOW == 0,
            },
            Self::Truncate => Need::Truncate,
        })
    }

    /// Whether the call may not leave the folder in which its path begins.
    pub(super) fn is_confined(self, arguments: &[usize; 6]) -> bool {
        const CONFINED: u64 = libc::RESOLVE_BENEATH | libc::RESOLVE_IN_ROOT;
        match self {
            Self::OpenHow(position) => open_how(argument(arguments, position) as *const u64)
                .is_some_and(|(_, resolve)| resolve & CONFINED != 0),
            _ => false,
        }
    }
}

impl Need {
    /// Whether the call writes to a file system.
    pub(super) fn writes(self) -> bool {
        match self {
            Self::Ask | Self::Access(_) | Self::Use | Self::List => false,
            Self::Open(flags) => opens_for_writing(flags) || flags & libc::O_CREAT != 0,
            Self::Create { .. } | Self::Remove(_) | Self::Change { .. } | Self::Truncate => true,
        }
    }

    /// Whether the call asks if it may write.
    pub(super) fn asks_to_write(self) -> bool {
        matches!(self, Self::Access(mode) if mode & libc::W_OK != 0)
    }

    /// Whether it matters in which folder a relative path begins: below the shadow root, writing is refused.
    pub(super) fn is_located(self) -> bool {
        self.writes() || self.asks_to_write()
    }

    /// Whether the call has no effect but a descriptor, which can be closed.
    fn is_harmless(self) -> bool {
        match self {
            Self::Ask | Self::Access(_) => true,
            Self::Open(_) => !self.writes(),
            _ => false,
        }
    }
}

/// Whether these flags write to an existing file.
pub(super) fn opens_for_writing(flags: c_int) -> bool {
    flags & libc::O_PATH == 0 && (flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0)
}

/// The argument at a position.
pub(super) fn argument(arguments: &[usize; 6], position: Position) -> usize {
    arguments.get(usize::from(position)).copied().unwrap_or_default()
}

/// The flags and the limits in a structure of openat2(2); none if it is invalid.
fn open_how(how: *const u64) -> Option<(c_int, u64)> {
    const WORDS: usize = 3;
    if !memory::is_readable(how.cast(), WORDS * size_of::<u64>()) {
        return None;
    }
    // SAFETY: it can be read; three words are the smallest such structure
    let [flags, _mode, resolve] = unsafe { how.cast::<[u64; WORDS]>().read_unaligned() };
    Some((flags as c_int, resolve))
}

/// The flags for a mode of fopen(3).
fn stream_flags(mode: *const c_char) -> c_int {
    // SAFETY: the mode is a C string, as libc expects it, too
    let mode = unsafe { CStr::from_ptr(mode) }.to_bytes();
    let has = |wanted: u8| {
        mode.iter()
            .skip(1)
            .take_while(|byte| **byte != b',')
            .any(|byte| *byte == wanted)
    };
    let access = if has(b'+') { libc::O_RDWR } else { libc::O_WRONLY };
    let exclusive = if has(b'x') { libc::O_EXCL } else { 0 };
    match mode.first() {
        Some(b'r') if has(b'+') => libc::O_RDWR,
        Some(b'w') => access | libc::O_CREAT | libc::O_TRUNC | exclusive,
        Some(b'a') => access | libc::O_CREAT | libc::O_APPEND | exclusive,
        // libc refuses any other
        _ => libc::O_RDONLY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_of_a_stream_gives_the_flags_of_fopen() {
        for (mode, flags) in [
            (c"r", libc::O_RDONLY),
            (c"rb", libc::O_RDONLY),
            (c"r+", libc::O_RDWR),
            (c"rb+e", libc::O_RDWR),
            (c"w", libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC),
            (
                c"w+x",
                libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_EXCL,
            ),
            (c"a", libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND),
            (c"r,ccs=a+b", libc::O_RDONLY),
            (c"", libc::O_RDONLY),
        ] {
            assert_eq!(stream_flags(mode.as_ptr()), flags, "{mode:?}");
        }
    }

    #[test]
    fn call_that_only_asks_is_harmless_and_one_that_creates_is_not() {
        for (flags, is_harmless) in [
            (libc::O_RDONLY, true),
            (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_DIRECTORY, true),
            (libc::O_PATH | libc::O_RDWR, true),
            (libc::O_RDONLY | libc::O_CREAT, false),
            (libc::O_RDONLY | libc::O_TRUNC, false),
            (libc::O_RDWR, false),
            (libc::O_TMPFILE | libc::O_WRONLY, false),
        ] {
            assert_eq!(Need::Open(flags).is_harmless(), is_harmless, "{flags:o}");
            assert_eq!(Need::Open(flags).writes(), !is_harmless, "{flags:o}");
        }
        assert!(!Need::Use.is_harmless() && !Need::Use.writes());
    }

    #[test]
    fn stream_is_not_opened_before_it_is_known_whose_file_it_reads() {
        let need = Need::Open(libc::O_RDONLY);
        assert!(Spec::path(Action::Open(1)).is_harmless(need));
        assert!(!Spec::path(Action::Stream(1)).with_pointer().is_harmless(need));
    }

    #[test]
    fn openat2_is_confined_by_what_keeps_it_in_its_folder() {
        for (resolve, is_confined) in [
            (0, false),
            (libc::RESOLVE_NO_SYMLINKS, false),
            (libc::RESOLVE_BENEATH, true),
            (libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_SYMLINKS, true),
        ] {
            let how = [u64::from(libc::O_CLOEXEC as u32), 0, resolve];
            let mut arguments = [0; 6];
            arguments[2] = how.as_ptr() as usize;
            let action = Action::OpenHow(2);
            assert_eq!(action.need(&arguments), Some(Need::Open(libc::O_CLOEXEC)));
            assert_eq!(action.is_confined(&arguments), is_confined, "{resolve:x}");
        }
        assert_eq!(Action::OpenHow(2).need(&[8; 6]), None);
        assert!(!Action::OpenHow(2).is_confined(&[8; 6]));
    }
}
