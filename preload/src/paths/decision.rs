//! What a call may do in a mount that is read-only in the container.
//!
//! The shadow root is an ordinary folder, which the program's user may write to. So the library refuses what the kernel
//! refuses in a mount that is read-only, with the error that it gives there: it looks the path up first, and so has
//! errors of the path before `EROFS` (path_resolution(7); filename_create, do_unlinkat and do_open in fs/namei.c).

use super::locate::Ending;
use super::spec::{Need, Removal, opens_for_writing};
use crate::errno::Errno;
use libc::c_int;

const READ_ONLY: Errno = Errno(libc::EROFS);
const IS_FOLDER: Errno = Errno(libc::EISDIR);

/// How a path is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LookUp {
    /// To what it links to.
    Followed,
    /// To a link itself, unless a slash behind it asks for what it links to.
    Link,
    /// To a link itself, as the name of something that may not be there.
    Name,
}

impl LookUp {
    fn of(follows: bool) -> Self {
        if follows { Self::Followed } else { Self::Link }
    }
}

/// What is known of a path in such a mount.
pub(super) trait Facts {
    /// The type and mode of what stands there.
    fn mode(&mut self, look_up: LookUp) -> Result<u32, Errno>;

    /// Whether there is a folder for it.
    fn parent(&mut self) -> Result<(), Errno>;
}

/// Decides whether a call is made; the error if it is not.
pub(super) fn decide(
    need: Need,
    ending: Ending,
    is_mount: bool,
    facts: &mut impl Facts,
) -> Result<(), Errno> {
    match need {
        Need::Ask | Need::Access(_) | Need::Use | Need::List => Ok(()),
        Need::Open(flags) => decide_open(flags, ending, facts),
        Need::Create { is_folder } => Err(refuse_creation(is_folder, ending, facts)?),
        Need::Remove(removal) => Err(refuse_removal(removal, ending, is_mount, facts)?),
        Need::Change { follows } => {
            facts.mode(LookUp::of(follows))?;
            Err(READ_ONLY)
        }
        Need::Truncate => Err(match facts.mode(LookUp::Followed)? & libc::S_IFMT {
            libc::S_IFDIR => IS_FOLDER,
            libc::S_IFREG => READ_ONLY,
            _ => Errno(libc::EINVAL),
        }),
    }
}

/// Decides whether a file that exists may be opened; the kernel decides about reading.
fn decide_open(flags: c_int, ending: Ending, facts: &mut impl Facts) -> Result<(), Errno> {
    // what distinguishes it from O_DIRECTORY, which it contains
    const TEMPORARY: c_int = libc::O_TMPFILE & !libc::O_DIRECTORY;
    if !Need::Open(flags).writes() {
        return Ok(());
    }
    if flags & TEMPORARY != 0 {
        return Err(match is_folder(facts.mode(LookUp::Followed)?) {
            true => READ_ONLY,
            false => Errno(libc::ENOTDIR),
        });
    }
    let creates = flags & libc::O_CREAT != 0;
    if creates && ending == Ending::Slash {
        facts.parent()?;
        return Err(IS_FOLDER);
    }
    let is_new = creates && flags & libc::O_EXCL != 0;
    let look_up = match is_new {
        true => LookUp::Name,
        false => LookUp::of(flags & libc::O_NOFOLLOW == 0),
    };
    match facts.mode(look_up) {
        Ok(_) if is_new => Err(Errno(libc::EEXIST)),
        Ok(mode) if is_folder(mode) => Err(IS_FOLDER),
        Ok(mode) if mode & libc::S_IFMT == libc::S_IFLNK => Err(Errno(libc::ELOOP)),
        Ok(_) if opens_for_writing(flags) => Err(READ_ONLY),
        Ok(_) => Ok(()),
        Err(Errno(libc::ENOENT)) if creates => {
            facts.parent()?;
            Err(READ_ONLY)
        }
        Err(error) => Err(error),
    }
}

fn refuse_creation(is_folder: bool, ending: Ending, facts: &mut impl Facts) -> Result<Errno, Errno> {
    match facts.mode(LookUp::Name) {
        Ok(_) => Ok(Errno(libc::EEXIST)),
        Err(Errno(libc::ENOENT)) => {
            facts.parent()?;
            Ok(match ending {
                Ending::Slash if !is_folder => Errno(libc::ENOENT),
                _ => READ_ONLY,
            })
        }
        Err(error) => Err(error),
    }
}

fn refuse_removal(
    removal: Removal,
    ending: Ending,
    is_mount: bool,
    facts: &mut impl Facts,
) -> Result<Errno, Errno> {
    let removes_folder = |facts: &mut _| match removal {
        Removal::Folder => true,
        Removal::NoFolder => false,
        Removal::Any => Facts::mode(facts, LookUp::Name).is_ok_and(is_folder),
    };
    if ending == Ending::Dots {
        return Ok(match removes_folder(facts) {
            true => Errno(libc::EINVAL),
            false => IS_FOLDER,
        });
    }
    if is_mount {
        // the folder above is not part of the mount
        let is_folder = is_folder(facts.mode(LookUp::Name)?);
        return Ok(match (is_folder, removes_folder(facts)) {
            (true, false) => IS_FOLDER,
            (false, true) => Errno(libc::ENOTDIR),
            (true, true) | (false, false) => Errno(libc::EBUSY),
        });
    }
    facts.parent()?;
    Ok(READ_ONLY)
}

pub(super) fn is_folder(mode: u32) -> bool {
    mode & libc::S_IFMT == libc::S_IFDIR
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder as these tests see it.
    struct Folder {
        file: Result<u32, Errno>,
        parent: Result<(), Errno>,
    }

    impl Facts for Folder {
        fn mode(&mut self, look_up: LookUp) -> Result<u32, Errno> {
            match self.file {
                // every link here leads nowhere
                Ok(libc::S_IFLNK) if look_up == LookUp::Followed => Err(Errno(libc::ENOENT)),
                file => file,
            }
        }

        fn parent(&mut self) -> Result<(), Errno> {
            self.parent
        }
    }

    const FILE: Result<u32, Errno> = Ok(libc::S_IFREG | 0o644);
    const FOLDER: Result<u32, Errno> = Ok(libc::S_IFDIR | 0o755);
    const LINK: Result<u32, Errno> = Ok(libc::S_IFLNK);
    const NONE: Result<u32, Errno> = Err(Errno(libc::ENOENT));

    fn decided(need: Need, ending: Ending, is_mount: bool, file: Result<u32, Errno>) -> c_int {
        let mut facts = Folder { file, parent: Ok(()) };
        decide(need, ending, is_mount, &mut facts).map_or_else(|error| error.0, |()| 0)
    }

    fn of_name(need: Need, file: Result<u32, Errno>) -> c_int {
        decided(need, Ending::Name, false, file)
    }

    #[test]
    fn file_of_a_read_only_mount_is_opened_for_reading_alone() {
        const READ: c_int = libc::O_RDONLY;
        const WRITE: c_int = libc::O_WRONLY;
        const CREATE: c_int = libc::O_CREAT;
        const NEW: c_int = libc::O_CREAT | libc::O_EXCL;
        for (flags, file, expected) in [
            (READ, FILE, 0),
            (READ, NONE, 0),
            (libc::O_PATH | WRITE, FILE, 0),
            (WRITE, FILE, libc::EROFS),
            (WRITE, FOLDER, libc::EISDIR),
            (WRITE, NONE, libc::ENOENT),
            (WRITE, LINK, libc::ENOENT),
            (libc::O_RDWR, FILE, libc::EROFS),
            (READ | libc::O_TRUNC, FILE, libc::EROFS),
            (READ | libc::O_TRUNC, FOLDER, libc::EISDIR),
            (READ | CREATE, FILE, 0),
            (READ | CREATE, FOLDER, libc::EISDIR),
            (READ | CREATE, NONE, libc::EROFS),
            (READ | CREATE, LINK, libc::EROFS),
            (WRITE | CREATE, FILE, libc::EROFS),
            (WRITE | NEW, FILE, libc::EEXIST),
            (WRITE | NEW, FOLDER, libc::EEXIST),
            (WRITE | NEW, LINK, libc::EEXIST),
            (WRITE | NEW, NONE, libc::EROFS),
            (WRITE | libc::O_NOFOLLOW, LINK, libc::ELOOP),
            (libc::O_RDWR | libc::O_TMPFILE, FOLDER, libc::EROFS),
            (libc::O_RDWR | libc::O_TMPFILE, FILE, libc::ENOTDIR),
            (libc::O_RDWR | libc::O_TMPFILE, NONE, libc::ENOENT),
        ] {
            assert_eq!(of_name(Need::Open(flags), file), expected, "{flags:o} {file:?}");
        }
        let slash = |file| decided(Need::Open(WRITE | NEW), Ending::Slash, false, file);
        assert_eq!(
            (slash(FILE), slash(FOLDER), slash(NONE)),
            (libc::EISDIR, libc::EISDIR, libc::EISDIR)
        );
        let dots = decided(Need::Open(WRITE | NEW), Ending::Dots, false, FOLDER);
        assert_eq!(dots, libc::EEXIST);
    }

    #[test]
    fn nothing_is_created_where_something_is_and_nothing_else_either() {
        for is_folder in [true, false] {
            let need = Need::Create { is_folder };
            for (file, expected) in [
                (FILE, libc::EEXIST),
                (FOLDER, libc::EEXIST),
                (LINK, libc::EEXIST),
                (NONE, libc::EROFS),
            ] {
                assert_eq!(of_name(need, file), expected, "{file:?}");
            }
            let slash = decided(need, Ending::Slash, false, NONE);
            assert_eq!(slash, if is_folder { libc::EROFS } else { libc::ENOENT });
        }
    }

    #[test]
    fn nothing_is_removed() {
        for removal in [Removal::Folder, Removal::NoFolder, Removal::Any] {
            for file in [FILE, FOLDER, NONE] {
                assert_eq!(of_name(Need::Remove(removal), file), libc::EROFS);
            }
        }
        for (removal, file, expected) in [
            (Removal::Folder, FOLDER, libc::EBUSY),
            (Removal::NoFolder, FOLDER, libc::EISDIR),
            (Removal::Any, FOLDER, libc::EBUSY),
            (Removal::NoFolder, FILE, libc::EBUSY),
            (Removal::Folder, FILE, libc::ENOTDIR),
        ] {
            let found = decided(Need::Remove(removal), Ending::Name, true, file);
            assert_eq!(found, expected, "{removal:?} {file:?}");
        }
        let dots = |removal| decided(Need::Remove(removal), Ending::Dots, false, FOLDER);
        assert_eq!(
            (dots(Removal::Folder), dots(Removal::NoFolder)),
            (libc::EINVAL, libc::EISDIR)
        );
    }

    #[test]
    fn what_is_there_is_not_changed() {
        let change = |follows| Need::Change { follows };
        for (need, file, expected) in [
            (change(true), FILE, libc::EROFS),
            (change(true), FOLDER, libc::EROFS),
            (change(true), LINK, libc::ENOENT),
            (change(false), LINK, libc::EROFS),
            (change(true), NONE, libc::ENOENT),
            (Need::Truncate, FILE, libc::EROFS),
            (Need::Truncate, FOLDER, libc::EISDIR),
            (Need::Truncate, Ok(libc::S_IFIFO), libc::EINVAL),
            (Need::Truncate, NONE, libc::ENOENT),
        ] {
            assert_eq!(of_name(need, file), expected, "{need:?} {file:?}");
        }
    }

    #[test]
    fn error_of_the_folder_comes_before_erofs() {
        for need in [
            Need::Create { is_folder: true },
            Need::Remove(Removal::NoFolder),
            Need::Open(libc::O_CREAT | libc::O_WRONLY),
        ] {
            let mut facts = Folder {
                file: NONE,
                parent: Err(Errno(libc::ENOTDIR)),
            };
            let decision = decide(need, Ending::Name, false, &mut facts);
            assert_eq!(decision, Err(Errno(libc::ENOTDIR)), "{need:?}");
        }
    }
}
