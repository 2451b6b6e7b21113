//! Files elsewhere that go with a session, however that ends.
//!
//! Each is noted in the session's folder by a link that leads to its path. The link's name says which file that is, so
//! that another one in its place stays, and so does one that the user has edited since.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// The beginning of the links' names.
const WRITTEN: &str = "written.";

/// Which file it is, and with which content: an editor may write into the same file, and a file system gives the inode
/// number of a removed file to a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: i64,
    nanoseconds: i64,
}

impl FileStamp {
    /// That of the file with this metadata.
    pub fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: found.mtime(),
            nanoseconds: found.mtime_nsec(),
        }
    }
}

impl fmt::Display for FileStamp {
    /// As it stands in a file name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            device,
            inode,
            size,
            modified,
            nanoseconds,
        } = self;
        write!(f, "{device}.{inode}.{size}.{modified}.{nanoseconds}")
    }
}

/// Notes a file that is being written at an absolute path of its own. It is removed whatever it holds.
///
/// # Errors
///
/// Why it cannot be noted.
pub fn note_unfinished(folder: &Path, path: &Path, file: &Metadata) -> io::Result<()> {
    symlink(path, folder.join(unfinished(file)))
}

/// Notes a complete file that is about to stand at an absolute path. It is removed only as long as it is unchanged.
///
/// # Errors
///
/// Why it cannot be noted.
pub fn note_complete(folder: &Path, path: &Path, file: FileStamp) -> io::Result<()> {
    symlink(path, folder.join(complete(file)))
}

fn unfinished(file: &Metadata) -> String {
    format!("{WRITTEN}{}.{}", file.dev(), file.ino())
}

fn complete(file: FileStamp) -> String {
    format!("{WRITTEN}{file}")
}

/// Removes the files that were noted.
pub(super) fn remove_written(folder: &Path, user: u32) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(path) = fs::read_link(entry.path()) else {
            continue;
        };
        let note = entry.file_name();
        let is_noted =
            |found: &Metadata| note == *unfinished(found) || note == *complete(FileStamp::of(found));
        let is_it = |found: &Metadata| found.is_file() && found.uid() == user && is_noted(found);
        if fs::symlink_metadata(&path).is_ok_and(|found| is_it(&found)) {
            // the launcher may be about to remove it
            let _gone = fs::remove_file(&path).is_err();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn user() -> u32 {
        fs::metadata("/proc/self").unwrap().uid()
    }

    /// A session's folder, and a file beside it that is noted there.
    fn noted() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let around = tempfile::tempdir().unwrap();
        let (session, path) = (around.path().join("session"), around.path().join("web.env"));
        fs::create_dir(&session).unwrap();
        fs::write(&path, "SECRET=1").unwrap();
        let stamp = FileStamp::of(&fs::metadata(&path).unwrap());
        note_complete(&session, &path, stamp).unwrap();
        (around, session, path)
    }

    #[test]
    fn noted_file_goes_with_its_session_unless_another_is_in_its_place() {
        for is_replaced in [false, true] {
            let (around, session, path) = noted();
            if is_replaced {
                let other = around.path().join("other");
                fs::write(&other, "of the user").unwrap();
                fs::rename(&other, &path).unwrap();
            }
            remove_written(&session, user()).unwrap();
            assert_eq!(path.exists(), is_replaced);
        }
    }

    /// An editor that saves in place, and `cp mine.env web.env`, keep the inode.
    #[test]
    fn noted_file_that_was_edited_since_stays() {
        let (_around, session, path) = noted();
        fs::write(&path, "MINE=1").unwrap();
        remove_written(&session, user()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "MINE=1");
        // of the same size
        let (_around, session, path) = noted();
        let file = fs::File::options().write(true).open(&path).unwrap();
        let later = file.metadata().unwrap().modified().unwrap() + std::time::Duration::from_nanos(1);
        file.set_modified(later).unwrap();
        remove_written(&session, user()).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn unfinished_file_goes_whatever_was_written_since_it_was_noted() {
        let around = tempfile::tempdir().unwrap();
        let (session, path) = (around.path().join("session"), around.path().join(".web.env.1"));
        fs::create_dir(&session).unwrap();
        fs::write(&path, "").unwrap();
        note_unfinished(&session, &path, &fs::metadata(&path).unwrap()).unwrap();
        fs::write(&path, "SECRET=").unwrap();
        remove_written(&session, user()).unwrap();
        assert!(!path.exists());
    }
}
