//! A session's folder, and the checks that its path belongs to the user.
//!
//! It lies in a parent folder that belongs to the user alone and is never removed, so that no other user can create the
//! path of a session that is over, which programs that outlive it still use. Launcher and relay check both folders
//! before each use.
//!
//! Launcher and relay each hold a lock in it for as long as they live (flock(2), which ends with its process). A folder
//! whose lock nobody holds is left from a session of which both were killed, and the next session of the user removes
//! it ([`sweep`]): secrets are among its files.

mod written;

pub use written::{FileStamp, note_complete, note_unfinished};

use crate::environment::RESOLV_CONF;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use written::remove_written;

/// The link in a session's folder to where the files of a container lie, if they lie elsewhere.
pub const FILES: &str = "files";

/// The file in a session's folder that launcher and relay hold locked.
const LOCK: &str = "lock";

/// Its name until the launcher holds it: a folder with a free [`LOCK`] is one that nobody uses any more.
const UNLOCKED: &str = "lock.new";

/// What the link beside the files of a container in memory is named after the session: it leads to its folder.
const OWNER: &str = "session";

/// The permission bits of group and others.
const OTHERS: u32 = 0o077;

/// Insists that a folder is `user`'s alone: a directory, no link to one, owned by that user and closed to all others.
///
/// # Errors
///
/// What keeps it from being looked at (stat(2)), or `PermissionDenied` with what is wrong with it.
pub fn check_private(folder: &Path, user: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    let fault = if found.is_symlink() {
        "it is a link".to_owned()
    } else if !found.is_dir() {
        "it is no folder".to_owned()
    } else if found.uid() != user {
        format!("it belongs to user {}", found.uid())
    } else if found.mode() & OTHERS != 0 {
        format!("others may use it, its mode is {:o}", found.mode() & 0o7777)
    } else {
        return Ok(());
    };
    Err(io::Error::new(ErrorKind::PermissionDenied, fault))
}

/// Insists that a session's folder and its parent are `user`'s alone.
///
/// # Errors
///
/// As for [`check_private`].
pub fn check(folder: &Path, user: u32) -> io::Result<()> {
    check_parent(folder, user)?;
    check_private(folder, user)
}

/// A lock of a session's folder, held until this value is dropped.
#[derive(Debug)]
pub struct SessionLock(#[expect(dead_code, reason = "the lock is the descriptor's")] File);

/// Takes the first lock of a new session's folder.
///
/// # Errors
///
/// Why there is none: the disk is full, or its file system has no locks.
pub fn lock_new(folder: &Path) -> io::Result<SessionLock> {
    let unlocked = folder.join(UNLOCKED);
    let file = File::create_new(&unlocked)?;
    let locked = file
        .lock_shared()
        .and_then(|()| fs::rename(&unlocked, folder.join(LOCK)));
    if locked.is_err() {
        // the folder serves without a lock
        let _gone = fs::remove_file(&unlocked).is_err();
    }
    locked.map(|()| SessionLock(file))
}

/// Takes a further lock of a session's folder; none where it has no first one.
///
/// # Errors
///
/// Why it cannot be locked.
pub fn lock(folder: &Path) -> io::Result<Option<SessionLock>> {
    match File::open(folder.join(LOCK)) {
        Ok(file) => file.lock_shared().map(|()| Some(SessionLock(file))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Locks the files of a container in memory, to which a link in the session's folder leads.
///
/// # Errors
///
/// Why they cannot be locked.
pub fn lock_files(files: &Path) -> io::Result<SessionLock> {
    let folder = File::open(files)?;
    folder.lock_shared().map(|()| SessionLock(folder))
}

/// Removes what is left in one of the user's folders from sessions whose launcher and relay were killed. What has no
/// lock, or is not the user's alone, stays; so does what cannot be removed, until the next time.
pub fn sweep(parent: &Path, user: u32) {
    if check_private(parent, user).is_err() {
        return;
    }
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        let _stays = match fs::read_link(&path) {
            Ok(session) => sweep_files(&path, &session, user),
            Err(_) => sweep_session(&path, user),
        };
    }
}

fn sweep_session(folder: &Path, user: u32) -> io::Result<()> {
    check_private(folder, user)?;
    let lock = File::open(folder.join(LOCK))?;
    lock.try_lock()?;
    remove(folder, user)
}

/// Removes the files of a session whose own folder is gone. A relay that is in another mount namespace, whose folder
/// is not to be seen from here, holds them locked.
fn sweep_files(owner: &Path, session: &Path, user: u32) -> io::Result<()> {
    let is_owner = owner.extension().is_some_and(|extension| extension == OWNER);
    if !is_owner || fs::symlink_metadata(session).is_ok() {
        return Ok(());
    }
    let files = owner.with_extension(FILES);
    match File::open(&files) {
        Ok(folder) => {
            folder.try_lock()?;
            check_private(&files, user)?;
            remove_all(&files)?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::remove_file(owner)
}

/// Removes a session's folder with everything in it; one that does not exist is no error. So are the files elsewhere
/// that go with the session.
///
/// # Errors
///
/// Why it cannot be removed; `PermissionDenied` where its parent is not `user`'s alone any more, since the folder may
/// then be another user's.
pub fn remove(folder: &Path, user: u32) -> io::Result<()> {
    let removed = check_parent(folder, user).and_then(|()| {
        let in_memory = in_memory(folder);
        if fs::read_link(folder.join(RESOLV_CONF)).is_ok_and(|target| target == in_memory) {
            // launcher and relay both remove it: the other one may have been faster
            let _gone = fs::remove_file(in_memory).is_err();
        }
        remove_written(folder, user)?;
        let files = files_in_memory(folder, user);
        let is_linked = fs::read_link(folder.join(FILES)).is_ok_and(|target| target == files);
        if is_linked && check(&files, user).is_ok() {
            remove_all(&files)?;
        }
        let owner = owner_in_memory(folder, user);
        // the relay knows the folder by its path without links
        let is_own =
            |session: &Path| session == folder || folder.canonicalize().is_ok_and(|plain| plain == session);
        if fs::read_link(&owner).is_ok_and(|session| is_own(&session)) {
            // launcher and relay both remove it
            let _gone = fs::remove_file(&owner).is_err();
        }
        remove_lock_last(folder)
    });
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Removes a session's folder. Nobody sweeps one without a lock, so the lock goes last: if the removal ends half-way, the
/// next session goes on with it.
fn remove_lock_last(folder: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    if found.is_dir() {
        if found.mode() & 0o700 != 0o700 {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        }
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name() == LOCK {
                continue;
            }
            let removed = match entry.file_type()?.is_dir() {
                true => remove_all(&entry.path()),
                false => fs::remove_file(entry.path()),
            };
            match removed {
                // launcher and relay both remove it
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                done => done?,
            }
        }
    }
    remove_all(folder)
}

/// Attempts to remove a folder in which something may still be made: the session's last calls, or a program.
const ATTEMPTS: usize = 5;

/// Removes a folder with everything in it, also what is in folders that their owner may not write to, as those of the
/// shadow root that are read-only in the container.
fn remove_all(folder: &Path) -> io::Result<()> {
    let mut removed = fs::remove_dir_all(folder);
    for _ in 1..ATTEMPTS {
        match removed.as_ref().map_err(io::Error::kind) {
            Err(ErrorKind::PermissionDenied) => open_folders(folder)?,
            Err(ErrorKind::DirectoryNotEmpty) => {}
            _ => return removed,
        }
        removed = fs::remove_dir_all(folder);
    }
    removed
}

/// Lets the owner of a folder, and of all below it, list and change them. Links are not followed.
fn open_folders(folder: &Path) -> io::Result<()> {
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        match fs::symlink_metadata(&folder) {
            Ok(found) if found.is_dir() => {}
            _ => continue,
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            }
        }
    }
    Ok(())
}

/// Where a session's resolv.conf lies, with a link to it in the session's folder, if the folder's disk is full: on the
/// system's own memory file system (shm_overview(7)). What the relay holds in memory no other process can open.
pub fn in_memory(folder: &Path) -> PathBuf {
    let session = folder.file_name().unwrap_or_default().to_string_lossy();
    Path::new("/dev/shm").join(format!("kinject-{session}.{RESOLV_CONF}"))
}

/// Where the files of a container lie, with the link [`FILES`] to it in the session's folder, if that folder is on a
/// disk: secrets are among them. Like a session's folder it lies in one of the user's that stays.
pub fn files_in_memory(folder: &Path, user: u32) -> PathBuf {
    let session = folder.file_name().unwrap_or_default().to_string_lossy();
    memory_of_user(user).join(format!("{session}.{FILES}"))
}

/// The link beside them that leads to the session's folder: by it they are found where that folder is lost.
pub fn owner_in_memory(folder: &Path, user: u32) -> PathBuf {
    files_in_memory(folder, user).with_extension(OWNER)
}

/// The folder that holds the files in memory of all the user's sessions.
pub fn memory_of_user(user: u32) -> PathBuf {
    Path::new("/dev/shm").join(format!("kinject-{user}"))
}

fn check_parent(folder: &Path, user: u32) -> io::Result<()> {
    check_private(folder.parent().unwrap_or(Path::new("/")), user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{chown, symlink};
    use std::path::PathBuf;

    fn private(folder: PathBuf) -> PathBuf {
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        folder
    }

    fn user() -> u32 {
        fs::metadata("/proc/self").unwrap().uid()
    }

    fn fault(folder: &Path) -> String {
        check(folder, user()).unwrap_err().to_string()
    }

    #[test]
    fn folder_is_accepted_only_if_it_and_its_parent_are_private() {
        let temporary = tempfile::tempdir().unwrap();
        let parent = private(temporary.path().join("parent"));
        let session = private(parent.join("session"));
        check(&session, user()).unwrap();
        assert!(
            check(&session, user() + 1)
                .unwrap_err()
                .to_string()
                .starts_with("it belongs to user ")
        );
        for folder in [&session, &parent] {
            fs::set_permissions(folder, Permissions::from_mode(0o710)).unwrap();
            assert_eq!(fault(&session), "others may use it, its mode is 710");
            fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
        }
        let link = parent.join("link");
        symlink(&session, &link).unwrap();
        assert_eq!(fault(&link), "it is a link");
        fs::write(parent.join("file"), "").unwrap();
        assert_eq!(fault(&parent.join("file")), "it is no folder");
        assert_eq!(
            check(&parent.join("none"), user()).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }

    #[test]
    fn removing_a_session_folder_removes_only_its_own_memory_file() {
        let temporary = tempfile::tempdir().unwrap();
        let parent = private(temporary.path().join("parent"));
        let other = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
        for (target, is_removed) in [(None, true), (Some(other.path()), false)] {
            let session = private(parent.join(format!("test{}", std::process::id())));
            let target = target.map_or_else(|| in_memory(&session), Path::to_owned);
            fs::write(&target, "").unwrap();
            symlink(&target, session.join(RESOLV_CONF)).unwrap();
            remove(&session, user()).unwrap();
            assert_eq!(!target.exists(), is_removed, "{}", target.display());
        }
    }

    #[test]
    fn files_in_memory_are_removed_only_by_the_sessions_own_link() {
        let temporary = tempfile::tempdir().unwrap();
        let parent = private(temporary.path().join("parent"));
        for is_own in [true, false] {
            let session = private(parent.join(format!("files{}{is_own}", std::process::id())));
            let files = files_in_memory(&session, user());
            fs::create_dir_all(&files).unwrap();
            for folder in [files.parent().unwrap(), &files] {
                fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
            }
            fs::write(files.join("secret"), "").unwrap();
            let target = if is_own {
                files.clone()
            } else {
                files.join("secret")
            };
            symlink(target, session.join(FILES)).unwrap();
            remove(&session, user()).unwrap();
            assert_eq!(files.exists(), !is_own);
            if !is_own {
                fs::remove_dir_all(&files).unwrap();
            }
            assert!(!session.exists());
        }
    }

    #[test]
    fn folder_is_swept_only_when_neither_launcher_nor_relay_holds_its_lock() {
        let temporary = tempfile::tempdir().unwrap();
        let parent = private(temporary.path().join("parent"));
        let [session, unlocked] = ["session", "of-an-older-release"].map(|name| private(parent.join(name)));
        fs::write(session.join("secret"), "").unwrap();
        let launcher = lock_new(&session).unwrap();
        let relay = lock(&session).unwrap().unwrap();
        assert!(lock(&unlocked).unwrap().is_none());
        for held in [launcher, relay] {
            sweep(&parent, user());
            assert!(session.join("secret").exists());
            drop(held);
        }
        sweep(&parent, user());
        assert!(!session.exists());
        assert!(unlocked.exists(), "nobody knows whether it is in use");
    }

    /// Some kernels list the oldest entry of a folder in memory first, others the newest: in one of the two sessions the
    /// lock comes before what cannot be removed.
    #[test]
    fn folder_whose_removal_ended_half_way_keeps_its_lock_and_is_swept_again() {
        if user() != 0 {
            // nobody else can put a folder there that the user cannot remove
            return;
        }
        let user = 65534;
        let give = |path: &Path| chown(path, Some(user), None).unwrap();
        let temporary = tempfile::tempdir_in("/dev/shm").unwrap();
        fs::set_permissions(temporary.path(), Permissions::from_mode(0o755)).unwrap();
        let parent = private(temporary.path().join("parent"));
        give(&parent);
        let sessions = [true, false].map(|is_lock_first| {
            let session = private(parent.join(is_lock_first.to_string()));
            let lock = is_lock_first.then(|| lock_new(&session).unwrap());
            fs::write(private(session.join("stuck")).join("secret"), "").unwrap();
            drop(lock.unwrap_or_else(|| lock_new(&session).unwrap()));
            give(&session);
            give(&session.join(LOCK));
            session
        });
        let sweep_as_user = || {
            let parent = parent.clone();
            let sweeping = std::thread::spawn(move || {
                rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(user)).unwrap();
                sweep(&parent, user);
            });
            sweeping.join().unwrap();
        };
        sweep_as_user();
        for session in &sessions {
            assert!(session.join(LOCK).exists());
            give(&session.join("stuck"));
            give(&session.join("stuck/secret"));
        }
        sweep_as_user();
        for session in sessions {
            assert!(!session.exists());
        }
    }

    #[test]
    fn folder_of_a_parent_that_is_not_the_users_alone_is_not_swept() {
        let temporary = tempfile::tempdir().unwrap();
        let parent = private(temporary.path().join("parent"));
        let session = private(parent.join("session"));
        drop(lock_new(&session).unwrap());
        fs::set_permissions(&parent, Permissions::from_mode(0o711)).unwrap();
        sweep(&parent, user());
        assert!(session.exists());
        sweep(&temporary.path().join("none"), user());
    }

    #[test]
    fn files_in_memory_are_swept_once_their_sessions_folder_is_gone_and_no_relay_holds_them() {
        let temporary = tempfile::tempdir().unwrap();
        let parent = private(temporary.path().join("memory"));
        let session = private(temporary.path().join("session"));
        let (files, owner) = (private(parent.join("a.files")), parent.join("a.session"));
        fs::write(files.join("secret"), "").unwrap();
        symlink(&session, &owner).unwrap();
        let relay = lock_files(&files).unwrap();
        sweep(&parent, user());
        assert!(files.exists(), "its session's folder is there");
        fs::remove_dir(&session).unwrap();
        sweep(&parent, user());
        assert!(files.exists(), "a relay in another mount namespace uses it");
        drop(relay);
        sweep(&parent, user());
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);
    }

    /// Root may write to such folders anyway, so a thread of its own becomes another user.
    #[test]
    fn session_folder_with_read_only_and_closed_folders_is_removed() {
        let temporary = tempfile::tempdir().unwrap();
        let parent = private(temporary.path().join("parent"));
        let session = private(parent.join("session"));
        let deep = session.join("root/etc/config/..2026");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("key"), "").unwrap();
        let elsewhere = private(temporary.path().join("elsewhere"));
        fs::set_permissions(&elsewhere, Permissions::from_mode(0o500)).unwrap();
        symlink(&elsewhere, session.join("root/link")).unwrap();
        let mut user = user();
        if user == 0 {
            user = 65534;
            let folders = deep.ancestors().take_while(|folder| *folder != temporary.path());
            for folder in folders.chain([elsewhere.as_path()]) {
                chown(folder, Some(user), None).unwrap();
            }
            fs::set_permissions(temporary.path(), Permissions::from_mode(0o755)).unwrap();
        }
        for (folder, mode) in [(&deep, 0o000), (&session.join("root/etc"), 0o555)] {
            fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
        }
        let removing = std::thread::spawn({
            let session = session.clone();
            move || {
                if user == 65534 {
                    rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(user)).unwrap();
                }
                remove(&session, user)
            }
        });
        removing.join().unwrap().unwrap();
        assert!(!session.exists());
        let kept = fs::metadata(&elsewhere).unwrap().mode() & 0o777;
        assert_eq!(kept, 0o500, "a link was followed");
    }

    #[test]
    fn folder_under_another_users_parent_is_not_removed() {
        let temporary = tempfile::tempdir().unwrap();
        let parent = private(temporary.path().join("parent"));
        let session = private(parent.join("session"));
        fs::write(session.join("file"), "").unwrap();
        if chown(&parent, Some(12345), None).is_ok() {
            assert_eq!(
                remove(&session, user()).unwrap_err().to_string(),
                "it belongs to user 12345"
            );
            assert!(session.join("file").exists());
            chown(&parent, Some(user()), None).unwrap();
        }
        remove(&session, user()).unwrap();
        assert!(!session.exists());
        remove(&session, user()).unwrap();
        fs::remove_dir(&parent).unwrap();
        remove(&session, user()).unwrap();
    }
}
