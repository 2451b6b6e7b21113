//! Files that the executable holds, unpacked into a folder of the user's: `FOLDER/SHA256/NAME`.
//!
//! Each run compares the file with the bytes in the executable before it returns the path, and replaces a file that was
//! altered, or left unfinished by a crash of the machine. No other user can change the file after the comparison: file
//! and folder belong to the user, no other user can write to them, and both are opened without following links.
//!
//! Files of other versions stay. A program that outlives its session, or a session of an older version, names its file
//! in `LD_PRELOAD` for what it starts, and without the file those programs would run outside of the session. No cheap
//! look at `/proc` finds all such programs: those of other users and in containers do not show what they have mapped. A
//! file takes about a quarter of a megabyte, and the user may remove any that no session uses.

mod content_folder;

use content_folder::ContentFolder;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawMode, Stat, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The bits of a mode that let the group or others write.
const WRITABLE_BY_OTHERS: RawMode = 0o022;

/// Ensures that `folder/sha256/name` is a file of this user's with this content, and gives its path. `folder` itself
/// has to be one in which no other user can write, rename or remove anything.
///
/// # Errors
///
/// What keeps the file from being written, or why nothing is loaded from there: `PermissionDenied` where the file
/// system is mounted `noexec` or others can write to the folder.
pub fn unpack(folder: &Path, sha256: &str, name: &str, content: &[u8]) -> io::Result<PathBuf> {
    let around = open_folder(CWD, folder)?;
    if rustix::fs::fstatvfs(&around)?
        .f_flag
        .contains(StatVfsMountFlags::NOEXEC)
    {
        return Err(denied(
            "nothing there may be executed: the file system is mounted noexec",
        ));
    }
    let (place, is_new) = match open_folder(&around, Path::new(sha256)) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let is_new = match rustix::fs::mkdirat(&around, sha256, Mode::RWXU) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(error.into()),
            };
            (open_folder(&around, Path::new(sha256))?, is_new)
        }
        opened => (opened?, false),
    };
    let unpacked = ContentFolder::new(place).unpack(name, content);
    if unpacked.is_err() && is_new {
        // a full disk keeps no empty folder; one that another run uses by now is not empty
        let _stays = rustix::fs::unlinkat(&around, sha256, AtFlags::REMOVEDIR).is_err();
    }
    unpacked.map(|()| folder.join(sha256).join(name))
}

/// Opens a folder that is this user's, and that no other user can write to.
fn open_folder(at: impl std::os::fd::AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(at, path, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&folder)?;
    if !is_own(&found) {
        return Err(denied(&format!(
            "{} belongs to user {}, or others may write to it (mode {:o})",
            kinject_escape::path(path),
            found.st_uid,
            found.st_mode & 0o7777
        )));
    }
    Ok(folder)
}

fn is_own(found: &Stat) -> bool {
    found.st_uid == geteuid().as_raw() && found.st_mode & WRITABLE_BY_OTHERS == 0
}

fn denied(why: &str) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, why)
}

#[cfg(test)]
mod tests {
    use super::content_folder::{ABANDONED, BLOCK};
    use super::*;
    use rustix::fs::FlockOperation;
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::time::SystemTime;
    use tempfile::TempDir;

    const SHA256: &str = "0123abcd";
    const NAME: &str = "library.so";

    fn content() -> Vec<u8> {
        (0..3 * BLOCK + 17).map(|index| (index % 251) as u8).collect()
    }

    fn private() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        folder
    }

    fn unpacked(folder: &TempDir) -> io::Result<PathBuf> {
        unpack(folder.path(), SHA256, NAME, &content())
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn first_run_unpacks_a_private_file_that_later_runs_keep() {
        let folder = private();
        let path = unpacked(&folder).unwrap();
        assert_eq!(path, folder.path().join(SHA256).join(NAME));
        assert_eq!(fs::read(&path).unwrap(), content());
        let written = fs::metadata(&path).unwrap();
        assert_eq!(written.mode() & 0o777, 0o400);
        let around = fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(around.mode() & 0o777, 0o700);
        assert_eq!(unpacked(&folder).unwrap(), path);
        assert_eq!(fs::metadata(&path).unwrap().ino(), written.ino());
        assert_eq!(names(path.parent().unwrap()), [NAME]);
    }

    /// Each of these stands where the file belongs.
    #[test]
    fn altered_truncated_extended_writable_or_linked_file_is_replaced() {
        let folder = private();
        let path = unpacked(&folder).unwrap();
        let other = folder.path().join("other");
        let altered = |at: usize| {
            let mut bytes = content();
            bytes[at] ^= 1;
            bytes
        };
        let write = |bytes: &[u8], mode: u32| {
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        };
        let faults: [&dyn Fn(); 8] = [
            &|| write(&altered(0), 0o400),
            &|| write(&altered(content().len() - 1), 0o400),
            &|| write(&content()[..BLOCK], 0o400),
            &|| write(&[content(), vec![0]].concat(), 0o400),
            &|| write(b"", 0o400),
            &|| write(&content(), 0o666),
            &|| write(&content(), 0o000),
            &|| {
                fs::rename(&path, &other).unwrap();
                symlink(&other, &path).unwrap();
            },
        ];
        for (index, fault) in faults.into_iter().enumerate() {
            fault();
            unpacked(&folder).unwrap();
            let found = fs::symlink_metadata(&path).unwrap();
            assert!(found.is_file(), "{index}");
            assert_eq!(found.mode() & 0o777, 0o400, "{index}");
            assert_eq!(fs::read(&path).unwrap(), content(), "{index}");
        }
        assert_eq!(
            fs::read(&other).unwrap(),
            content(),
            "what a link leads to is not written to"
        );
    }

    #[test]
    fn unfinished_file_is_removed_unless_a_run_has_it_locked() {
        let folder = private();
        let path = unpacked(&folder).unwrap();
        let around = path.parent().unwrap();
        fs::remove_file(&path).unwrap();
        let long_ago = SystemTime::now() - 2 * ABANDONED;
        fs::write(around.join("library.so.left"), "half").unwrap();
        let left = File::options()
            .write(true)
            .open(around.join("library.so.left"))
            .unwrap();
        left.set_modified(long_ago).unwrap();
        let writing = File::create(around.join("library.so.writing")).unwrap();
        writing.set_modified(long_ago).unwrap();
        rustix::fs::flock(&writing, FlockOperation::LockExclusive).unwrap();
        unpacked(&folder).unwrap();
        assert_eq!(names(around), [NAME, "library.so.writing"]);
    }

    /// As between the making of a file and its lock, and on a file system without locks.
    #[test]
    fn unfinished_file_without_a_lock_stays_while_it_is_new() {
        let folder = private();
        fs::create_dir(folder.path().join(SHA256)).unwrap();
        fs::set_permissions(folder.path().join(SHA256), Permissions::from_mode(0o700)).unwrap();
        fs::write(folder.path().join(SHA256).join("library.so.new"), "").unwrap();
        unpacked(&folder).unwrap();
        assert_eq!(names(&folder.path().join(SHA256)), [NAME, "library.so.new"]);
    }

    #[test]
    fn folder_in_the_place_of_the_file_is_removed_if_empty_and_otherwise_renamed() {
        let folder = private();
        let path = unpacked(&folder).unwrap();
        for is_empty in [true, false] {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            if !is_empty {
                fs::write(path.join("another file"), "kept").unwrap();
            }
            assert_eq!(unpacked(&folder).unwrap(), path);
            assert_eq!(fs::read(&path).unwrap(), content());
            let names = names(path.parent().unwrap());
            assert_eq!(names.len(), if is_empty { 1 } else { 2 }, "{names:?}");
            if let [_, aside] = names.as_slice() {
                let kept = path.parent().unwrap().join(aside).join("another file");
                assert_eq!(fs::read_to_string(kept).unwrap(), "kept");
            }
        }
    }

    #[test]
    fn concurrent_first_runs_all_find_the_whole_file() {
        let folder = private();
        let paths: Vec<PathBuf> = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..16).map(|_| scope.spawn(|| unpacked(&folder))).collect();
            runs.into_iter().map(|run| run.join().unwrap().unwrap()).collect()
        });
        assert_eq!(fs::read(&paths[0]).unwrap(), content());
        assert_eq!(names(paths[0].parent().unwrap()), [NAME]);
    }

    #[test]
    fn folder_that_others_can_write_to_is_refused() {
        let folder = private();
        let path = unpacked(&folder).unwrap();
        let around = path.parent().unwrap();
        for mode in [0o777, 0o720] {
            fs::set_permissions(around, Permissions::from_mode(mode)).unwrap();
            let refusal = unpacked(&folder).unwrap_err();
            assert_eq!(refusal.kind(), ErrorKind::PermissionDenied);
            assert!(
                refusal.to_string().contains(&format!("mode {mode:o}")),
                "{refusal}"
            );
        }
        fs::set_permissions(around, Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o770)).unwrap();
        assert_eq!(unpacked(&folder).unwrap_err().kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn link_in_the_place_of_the_folder_is_refused() {
        let folder = private();
        let elsewhere = private();
        symlink(elsewhere.path(), folder.path().join(SHA256)).unwrap();
        assert!(unpacked(&folder).is_err());
        assert_eq!(names(elsewhere.path()), [""; 0]);
    }
}
