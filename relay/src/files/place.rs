//! Where the shadow root lies: in memory, since secrets are among its files.

use kinject_protocol::folder::{
    FILES, SessionLock, check_private, files_in_memory, lock_files, owner_in_memory,
};
use kinject_protocol::session::Report;
use rustix::fs::{Mode, OFlags};
use rustix::fs::{fstatfs, open, statfs, statvfs};
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

/// The types of file systems in memory (statfs(2)).
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;

/// The least free space of the system's memory file system: in containers it is often so small that a session's files
/// would not fit.
const MIN_FREE: u64 = 512 << 20;

/// A folder for the shadow root.
pub(super) struct Place {
    /// The folder.
    pub(super) folder: PathBuf,
    /// What keeps the next session of the user from removing it, if it is not the session's own.
    pub(super) lock: Option<SessionLock>,
    /// Why it is on a disk, if it is.
    on_disk: Option<String>,
}

impl Place {
    /// What the user has to know of it.
    pub(super) fn warning(&self) -> Option<Report> {
        let why = self.on_disk.as_ref()?;
        Some(Report {
            message: format!(
                "the container's files, its secrets among them, lie on a disk while the session runs, in {}: {why}",
                kinject_escape::path(&self.folder)
            ),
            hint: Some(
                "name a folder of yours in memory in XDG_RUNTIME_DIR, or do without the files: `--files none`".to_owned(),
            ),
        })
    }
}

/// The folder for the shadow root: the session's own if that lies in memory, otherwise one on the system's memory file
/// system (shm_overview(7)), to which a link in the session's folder leads. If there is none that has space, the
/// session's own.
pub(super) fn private_folder(folder: &Path) -> io::Result<Place> {
    let user = rustix::process::geteuid().as_raw();
    place(
        folder,
        Path::new("/dev/shm"),
        &files_in_memory(folder, user),
        user,
    )
}

/// The same, where `memory` is the system's memory file system, and `files` the folder to make there.
fn place(folder: &Path, memory: &Path, files: &Path, user: u32) -> io::Result<Place> {
    let own = |on_disk| Place {
        folder: folder.to_owned(),
        lock: None,
        on_disk,
    };
    let descriptor = open(folder, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if is_in_memory(fstatfs(&descriptor)?.f_type as u64) {
        return Ok(own(None));
    }
    if !has_space(memory) {
        let why = format!(
            "{} has no {} MiB in memory",
            kinject_escape::path(memory),
            MIN_FREE >> 20
        );
        return Ok(own(Some(why)));
    }
    Ok(match make(folder, files, user, lock_files) {
        Ok(lock) => Place {
            folder: files.to_owned(),
            lock,
            on_disk: None,
        },
        Err(error) => own(Some(format!(
            "cannot make {}: {error}",
            kinject_escape::path(files)
        ))),
    })
}

fn is_in_memory(kind: u64) -> bool {
    // of some architectures it is a signed number of 32 bits
    matches!(kind & 0xffff_ffff, TMPFS | RAMFS)
}

fn has_space(folder: &Path) -> bool {
    let is_memory = statfs(folder).is_ok_and(|found| is_in_memory(found.f_type as u64));
    let free = statvfs(folder).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize));
    is_memory && free >= MIN_FREE
}

fn make(
    folder: &Path,
    files: &Path,
    user: u32,
    lock: impl FnOnce(&Path) -> io::Result<SessionLock>,
) -> io::Result<Option<SessionLock>> {
    let around = files.parent().unwrap_or(files);
    let mut private = DirBuilder::new();
    private.mode(0o700);
    match private.create(around) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => check_private(around, user)?,
        made => made?,
    }
    // a folder that exists may be another session's, which a link to it would give away to this one's removal
    private.create(files)?;
    let lock = lock(files).ok();
    let linked = symlink(files, folder.join(FILES));
    if linked.is_err() {
        fs::remove_dir(files)?;
    }
    linked?;
    // by this link a session elsewhere, which may not see this one's folder, finds the files: it spares what is locked
    if lock.is_some() {
        let owner = files.with_file_name(owner_in_memory(folder, user).file_name().unwrap_or_default());
        // only what could not be noted is not swept after a kill
        let _unnoted = symlink(folder, owner).is_err();
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_of_another_session_is_neither_used_nor_linked() {
        let session = tempfile::tempdir().unwrap();
        let memory = tempfile::tempdir().unwrap();
        let user = rustix::process::geteuid().as_raw();
        let files = memory.path().join("user").join("0123abcd.files");
        let lock = make(session.path(), &files, user, lock_files).unwrap();
        assert!(lock.is_some());
        assert_eq!(fs::read_link(session.path().join(FILES)).unwrap(), files);
        let other = tempfile::tempdir().unwrap();
        let error = make(other.path(), &files, user, lock_files).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(!other.path().join(FILES).exists());
        assert!(files.exists());
    }

    /// A session in another mount namespace takes files with that link and without a lock for left ones.
    #[test]
    fn files_are_locked_before_the_link_that_leads_others_to_them_and_have_none_without_a_lock() {
        let user = rustix::process::geteuid().as_raw();
        for is_lockable in [true, false] {
            let (session, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let around = memory.path().join("user");
            let entries = || fs::read_dir(&around).unwrap().count();
            let lock = |files: &Path| {
                assert_eq!(entries(), 1, "the files alone");
                match is_lockable {
                    true => lock_files(files),
                    false => Err(ErrorKind::Unsupported.into()),
                }
            };
            let made = make(session.path(), &around.join("0123abcd.files"), user, lock).unwrap();
            assert_eq!(made.is_some(), is_lockable);
            assert_eq!(entries(), if is_lockable { 2 } else { 1 });
        }
    }

    /// /proc is no file system in memory that could hold files.
    #[test]
    fn files_on_a_disk_are_a_warning_that_names_the_folder_and_the_way_on() {
        let disk = Path::new("/var/tmp");
        if is_in_memory(statfs(disk).unwrap().f_type as u64) {
            return kinject_test_support::skip::not_run(
                "a session's files on a disk",
                "/var/tmp is in memory",
            );
        }
        let session = tempfile::tempdir_in(disk).unwrap();
        let user = rustix::process::geteuid().as_raw();
        let place = place(session.path(), Path::new("/proc"), Path::new("/proc/none"), user).unwrap();
        let warning = place.warning().unwrap();
        assert!(
            warning.message.contains(&session.path().display().to_string()),
            "{}",
            warning.message
        );
        assert!(warning.hint.unwrap().contains("--files none"));
    }

    #[test]
    fn files_in_memory_are_no_warning() {
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let place = place(memory.path(), Path::new("/proc"), Path::new("/proc/none"), 0).unwrap();
        assert_eq!(place.warning(), None);
        assert_eq!(place.folder, memory.path());
    }
}
