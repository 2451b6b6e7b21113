//! Files that the executable holds, unpacked into a folder of the user's: `FOLDER/SHA256/NAME`.
//!
//! Each run compares the file that is there with the bytes in the executable before it gives its path away, so a file
//! that was altered, or left unfinished by a crash of the machine, is replaced. What was compared stays what it is:
//! file and folder belong to the user, nobody else can write to them, and both are looked at through descriptors that
//! follow no links. A file is written under a random name and renamed, so that a session which starts meanwhile finds
//! all of it or nothing.

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RawMode, Stat, StatVfsMountFlags,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The bits of a mode that let the group or others write.
const WRITABLE_BY_OTHERS: RawMode = 0o022;

/// The bit that lets the owner read.
const READABLE: RawMode = 0o400;

/// How much of a file is compared at a time.
const BLOCK: usize = 64 << 10;

/// How often a file is written before a failure counts: another process may take an unfinished file away.
const ATTEMPTS: usize = 3;

/// How old an unfinished file without a lock is before it counts as left by a killed run: one that was just made is not
/// locked yet, and some file systems have no locks.
const ABANDONED: Duration = Duration::from_secs(10);

/// Ensures that `folder/sha256/name` is a file of this user's with this content, and gives its path. `folder` itself has
/// to be one in which no other user can write, rename or remove anything.
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
    let unpacked = ContentFolder { folder: place }.unpack(name, content);
    if unpacked.is_err() && is_new {
        // a full disk keeps no empty folder; one that another run uses by now is not empty
        let _stays = rustix::fs::unlinkat(&around, sha256, AtFlags::REMOVEDIR).is_err();
    }
    unpacked.map(|()| folder.join(sha256).join(name))
}

/// Opens a folder that is this user's, and that nobody else can write to.
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

/// The folder of one content.
struct ContentFolder {
    folder: OwnedFd,
}

impl ContentFolder {
    fn unpack(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut written = Ok(());
        for _ in 0..ATTEMPTS {
            if self.holds(name, content)? {
                return Ok(());
            }
            written = self.write(name, content);
            match &written {
                // another process took the unfinished file for what a killed one left
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                _ => break,
            }
        }
        match written {
            // another process may have written it
            Err(_) if self.holds(name, content)? => Ok(()),
            written => written,
        }
    }

    /// Whether the file has this content, and is one that only this user can alter.
    fn holds(&self, name: &str, content: &[u8]) -> io::Result<bool> {
        // not to wait for the other end of a pipe
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.folder, name, flags, Mode::empty()) {
            Ok(file) => file,
            // none, a link, a file that even its owner may not read, a socket: all are replaced
            Err(Errno::NOENT | Errno::LOOP | Errno::ACCESS | Errno::NXIO) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let found = rustix::fs::fstat(&file)?;
        let is_right = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
            && is_own(&found)
            && found.st_mode & READABLE != 0
            && u64::try_from(found.st_size).is_ok_and(|size| size == content.len() as u64);
        Ok(is_right && is_same(File::from(file), content)?)
    }

    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.remove_unfinished(name);
        let mut random = [0_u8; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let unfinished = format!("{name}.{:016x}", u64::from_be_bytes(random));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.folder, &unfinished, flags, Mode::RUSR)?);
        // open until after the renaming: the lock ends with the descriptor
        let written = fill(&file, content).and_then(|()| self.put(&unfinished, name));
        if written.is_err() {
            let _gone = rustix::fs::unlinkat(&self.folder, &unfinished, AtFlags::empty()).is_err();
        }
        written
    }

    /// Renames the finished file. It takes the place of a file or a link; a folder makes way under another name, and is
    /// removed if it is empty.
    fn put(&self, unfinished: &str, name: &str) -> io::Result<()> {
        let rename = |from: &str, to: &str| rustix::fs::renameat(&self.folder, from, &self.folder, to);
        match rename(unfinished, name) {
            Err(Errno::ISDIR) => {
                let aside = format!("{unfinished}.folder");
                rename(name, &aside)?;
                let _stays = rustix::fs::unlinkat(&self.folder, &aside, AtFlags::REMOVEDIR).is_err();
                Ok(rename(unfinished, name)?)
            }
            renamed => Ok(renamed?),
        }
    }

    /// Removes what runs that were killed have left. They held locks, which ended with them.
    fn remove_unfinished(&self, name: &str) {
        let Ok(entries) = Dir::read_from(&self.folder) else {
            return;
        };
        for entry in entries.filter_map(Result::ok) {
            if is_unfinished(entry.file_name(), name) {
                self.remove_unlocked(entry.file_name());
            }
        }
    }

    fn remove_unlocked(&self, file_name: &CStr) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(&self.folder, file_name, flags, Mode::empty()) else {
            return;
        };
        let file = File::from(file);
        if is_abandoned(&file) && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _gone = rustix::fs::unlinkat(&self.folder, file_name, AtFlags::empty()).is_err();
        }
    }
}

/// Writes without fsync(2): the next run looks at the content, also after a crash of the machine.
fn fill(mut file: &File, content: &[u8]) -> io::Result<()> {
    // says that somebody still writes
    let _locked = rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
    // whatever the umask is
    rustix::fs::fchmod(file, Mode::RUSR)?;
    file.write_all(content)
}

/// Whether nobody has written to a file for a while; a file server's clock may be a little ahead.
fn is_abandoned(file: &File) -> bool {
    let Ok(modified) = file.metadata().and_then(|found| found.modified()) else {
        return false;
    };
    let age = match SystemTime::now().duration_since(modified) {
        Ok(age) => age,
        Err(ahead) => ahead.duration(),
    };
    age > ABANDONED
}

fn is_unfinished(file_name: &CStr, name: &str) -> bool {
    let suffix = file_name.to_bytes().strip_prefix(name.as_bytes());
    suffix.is_some_and(|suffix| suffix.first() == Some(&b'.'))
}

fn is_same(mut file: File, content: &[u8]) -> io::Result<bool> {
    let mut block = vec![0; BLOCK];
    for expected in content.chunks(BLOCK) {
        let Some(found) = block.get_mut(..expected.len()) else {
            return Ok(false);
        };
        match file.read_exact(found) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if found != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
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
    fn first_run_unpacks_a_private_file_and_later_runs_leave_it_alone() {
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
    fn unfinished_file_of_a_killed_run_is_removed_and_one_that_is_being_written_is_not() {
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
    fn folder_in_the_place_of_the_file_makes_way_with_what_is_in_it() {
        let folder = private();
        let path = unpacked(&folder).unwrap();
        for is_empty in [true, false] {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            if !is_empty {
                fs::write(path.join("somebody's"), "kept").unwrap();
            }
            assert_eq!(unpacked(&folder).unwrap(), path);
            assert_eq!(fs::read(&path).unwrap(), content());
            let names = names(path.parent().unwrap());
            assert_eq!(names.len(), if is_empty { 1 } else { 2 }, "{names:?}");
            if let [_, aside] = names.as_slice() {
                let kept = path.parent().unwrap().join(aside).join("somebody's");
                assert_eq!(fs::read_to_string(kept).unwrap(), "kept");
            }
        }
    }

    #[test]
    fn many_first_runs_at_once_all_find_the_whole_file() {
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
