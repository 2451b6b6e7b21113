//! The folder that holds everything a cluster writes, and the lock on it.
//!
//! Its place is fixed: Unix sockets in it stay below their 108 bytes wherever the clone is, and two clones
//! see each other's cluster instead of fighting over addresses and namespaces. A lock on the folder lets one
//! command at a time work on it; `owner` names the clone whose cluster it is.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder's fixed path, which the manifest of CoreDNS and the tests also contain.
pub(crate) const FOLDER: &str = "/var/lib/kinject-cluster";

/// Paths of a cluster's files.
#[derive(Clone, Debug)]
pub(crate) struct State {
    folder: PathBuf,
}

impl State {
    pub(crate) fn new() -> Self {
        Self::in_folder(PathBuf::from(FOLDER))
    }

    fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The kubeconfig of a component.
    pub(crate) fn kubeconfig_of(&self, component: &str) -> PathBuf {
        self.path(&Self::kubeconfig_name(component))
    }

    /// Its file's name.
    pub(crate) fn kubeconfig_name(component: &str) -> String {
        match component {
            "admin" => "kubeconfig".to_owned(),
            other => format!("pki/{other}.kubeconfig"),
        }
    }

    /// Credentials of the cluster's administrator, with everything in one file.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// A program of the cluster, which `bin` holds under its own name.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.path("bin").join(name)
    }

    /// Where containerd listens, for processes outside and inside the node.
    pub(crate) fn containerd_socket(&self) -> PathBuf {
        self.path("containerd.sock")
    }

    pub(crate) fn read(&self, name: &str) -> Result<Option<String>> {
        match fs::read_to_string(self.path(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", self.path(name).display())),
        }
    }

    /// Writes a file that everyone may read.
    pub(crate) fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        self.write_with_mode(name, content, 0o644)
    }

    /// Writes a file that only root can read.
    pub(crate) fn write_secret(&self, name: &str, content: &str) -> Result<PathBuf> {
        self.write_with_mode(name, content, 0o600)
    }

    fn write_with_mode(&self, name: &str, content: &str, mode: u32) -> Result<PathBuf> {
        let path = self.path(name);
        let write = || {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            // Written under another name first, then renamed: no reader sees half of it.
            let unfinished = path.with_extension("unfinished");
            match fs::remove_file(&unfinished) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&unfinished)?;
            file.write_all(content.as_bytes())?;
            fs::rename(&unfinished, &path)
        };
        write().with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// The clone whose cluster this is.
    pub(crate) fn owner(&self) -> Result<Option<PathBuf>> {
        Ok(self.read("owner")?.map(PathBuf::from))
    }

    /// Locks the folder for this command, creates it if it is missing, and waits while another command holds the lock.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let take = || loop {
            fs::create_dir_all(&self.folder)?;
            let folder = File::open(&self.folder)?;
            folder.lock()?;
            // A command that ended meanwhile may have removed the folder that the lock is on.
            match fs::metadata(&self.folder) {
                Ok(named) if named.ino() == folder.metadata()?.ino() => {
                    return Ok(Lock {
                        path: self.folder.clone(),
                        _folder: folder,
                    });
                }
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        };
        take().with_context(|| format!("taking the state folder {}", self.folder.display()))
    }

    /// Removes everything in the folder. Dropping the lock removes the folder itself.
    pub(crate) fn clear(&self, _lock: &Lock) -> Result<()> {
        let clear = || {
            for entry in fs::read_dir(&self.folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    fs::remove_dir_all(entry.path())?;
                } else {
                    fs::remove_file(entry.path())?;
                }
            }
            std::io::Result::Ok(())
        };
        clear().with_context(|| format!("clearing {}", self.folder.display()))
    }

    /// Gives a file to the user that sudo was called by, who runs kinject without sudo.
    pub(crate) fn give_to_caller(&self, path: &Path) -> Result<()> {
        let Some(user) = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok()) else {
            return Ok(());
        };
        chown(path, Some(user), None).with_context(|| format!("giving {} to user {user}", path.display()))
    }
}

/// The folder is this command's until the lock is dropped.
pub(crate) struct Lock {
    path: PathBuf,
    _folder: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removes the folder only if it is empty: one that a command created just to lock it.
        let _not_empty = fs::remove_dir(&self.path);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    /// A state folder of a test's own.
    pub(crate) fn temporary() -> (State, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (State::in_folder(folder.path().join("state")), folder)
    }

    #[test]
    fn released_lock_removes_an_empty_folder() {
        let (state, _folder) = temporary();
        drop(state.lock().unwrap());
        assert!(!state.folder().exists());
    }

    #[test]
    fn released_lock_keeps_a_filled_folder_until_it_is_cleared() {
        let (state, _folder) = temporary();
        let lock = state.lock().unwrap();
        state.write("a/file", "content").unwrap();
        drop(lock);
        assert_eq!(state.read("a/file").unwrap().as_deref(), Some("content"));

        let lock = state.lock().unwrap();
        state.clear(&lock).unwrap();
        drop(lock);
        assert!(!state.folder().exists());
    }

    #[test]
    fn second_command_waits_for_the_lock_on_the_folder() {
        let (state, _folder) = temporary();
        let held = state.lock().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _lock = state.lock().unwrap();
                sender.send("second").unwrap();
            });
            // Without the lock the second command might be late by chance: the test can miss a fault, but not report a
            // false one.
            assert!(receiver.try_recv().is_err());
            drop(held);
            assert_eq!(receiver.recv().unwrap(), "second");
        });
    }

    #[test]
    fn secret_files_are_readable_by_root_only() {
        let (state, _folder) = temporary();
        let secret = state.write_secret("key", "secret").unwrap();
        let public = state.write("certificate", "public").unwrap();
        assert_eq!(fs::metadata(secret).unwrap().permissions().mode() & 0o077, 0);
        assert_eq!(fs::metadata(public).unwrap().permissions().mode() & 0o044, 0o044);
    }
}
