//! The folder of one content, and the file in it.
//!
//! The file is written under a random name and renamed, so that a session which starts meanwhile finds all of it or
//! nothing. While it is written it is locked: an unfinished file without a lock was left by a run that was killed.

use super::is_own;
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, RawMode};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

/// The bit that lets the owner read.
const READABLE: RawMode = 0o400;

/// How much of a file is compared at a time.
pub(super) const BLOCK: usize = 64 << 10;

/// How often a file is written before a failure counts: another process may take an unfinished file away.
const ATTEMPTS: usize = 3;

/// How old an unfinished file without a lock is before it counts as left by a killed run: one that was just made is not
/// locked yet, and some file systems have no locks.
pub(super) const ABANDONED: Duration = Duration::from_secs(10);

/// The folder of one content.
pub(super) struct ContentFolder {
    folder: OwnedFd,
}

impl ContentFolder {
    /// That of an open folder in which no other user can write.
    pub(super) fn new(folder: OwnedFd) -> Self {
        Self { folder }
    }

    /// Ensures that the folder has a file of this name and content.
    pub(super) fn unpack(&self, name: &str, content: &[u8]) -> io::Result<()> {
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
    // other runs then leave the file alone
    let _locked = rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
    // whatever the umask is
    rustix::fs::fchmod(file, Mode::RUSR)?;
    file.write_all(content)
}

/// Whether a file was last written to a while ago; a file server's clock may be a little ahead.
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
