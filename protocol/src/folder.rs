//! A session's folder, and the checks that its path belongs to the user.
//!
//! It lies in a parent folder that belongs to the user alone and is never removed, so that no other user can create the
//! path of a session that is over, which programs that outlive it still use. Launcher and relay check both folders
//! before each use.

use crate::environment::RESOLV_CONF;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The link in a session's folder to where the files of a container lie, if they lie elsewhere.
pub const FILES: &str = "files";

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

/// Removes a session's folder with everything in it; one that does not exist is no error.
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
        let files = files_in_memory(folder, user);
        let is_linked = fs::read_link(folder.join(FILES)).is_ok_and(|target| target == files);
        if is_linked && check(&files, user).is_ok() {
            remove_all(&files)?;
        }
        remove_all(folder)
    });
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
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
    Path::new("/dev/shm")
        .join(format!("kinject-{user}"))
        .join(format!("{session}.{FILES}"))
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
