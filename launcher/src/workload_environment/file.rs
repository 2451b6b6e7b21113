//! A file with the variables, for an IDE or a debugger, while the session runs.
//!
//! It holds secrets: only its owner may read it, it appears complete by rename(2), and it goes with the session. A file
//! that kinject has not written is never replaced, since it would be lost at the session's end. The session's folder
//! notes it, so that the relay removes it if the launcher is killed.

use super::formats::{self, Format, Rendered};
use crate::exit::Failure;
use crate::folder;
use kinject_protocol::folder::{FileStamp, note_complete, note_unfinished};
use rustix::process::geteuid;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf, absolute};

/// A written file; it is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct EnvironmentFile {
    path: PathBuf,
    /// What others have put in its place or written into it stays.
    stamp: FileStamp,
}

impl EnvironmentFile {
    /// Refuses a path where no file can be written, or where one is that would be lost.
    pub(crate) fn check(option: &str, path: &Path, format: Format) -> Result<(), Failure> {
        let name = format!("{option} {}", kinject_escape::path(path));
        let found = match path.symlink_metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound && path.file_name().is_some() => {
                return check_folder(&name, path);
            }
            Err(error) => return Err(cannot_write(&name, &error)),
        };
        if found.is_dir() {
            return Err(Failure::own(
                format!("{name} is a folder"),
                "name a file in it that is not there yet",
            ));
        }
        if !found.is_file() {
            return Err(Failure::own(
                format!("{name} is no regular file"),
                "name a file that is not there yet; `kinject env` writes to standard output",
            ));
        }
        if found.uid() != geteuid().as_raw() {
            return Err(Failure::own(
                format!("{name} belongs to another user"),
                "name a file in a folder of your own",
            ));
        }
        match is_replaceable(path, &found, format) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::own(
                format!("{name} is there already, and kinject has not written it"),
                "name another file, or remove this one: the file goes when the session ends",
            )),
            Err(error) => Err(cannot_write(&name, &error)),
        }
    }

    /// Writes it. `session` is the session's folder.
    pub(crate) fn write(
        session: &Path,
        option: &str,
        path: &Path,
        format: Format,
        rendered: &Rendered,
    ) -> Result<Self, Failure> {
        // it may have come to be there while the session came up
        Self::check(option, path, format)?;
        let header = match format {
            Format::Dotenv => formats::HEADER,
            _ => "",
        };
        let content = [header.as_bytes(), &rendered.text].concat();
        let stamp = replace(session, path, &content)
            .map_err(|error| cannot_write(&format!("{option} {}", kinject_escape::path(path)), &error))?;
        Ok(Self {
            path: path.to_owned(),
            stamp,
        })
    }
}

impl Drop for EnvironmentFile {
    fn drop(&mut self) {
        let found = self.path.symlink_metadata();
        if found.is_ok_and(|found| FileStamp::of(&found) == self.stamp) {
            let _gone = std::fs::remove_file(&self.path).is_err();
        }
    }
}

fn check_folder(name: &str, path: &Path) -> Result<(), Failure> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    rustix::fs::access(parent, rustix::fs::Access::WRITE_OK)
        .map_err(|error| cannot_write(name, &error.into()))
}

/// Whether a file is empty, or left over from a kinject that was killed.
fn is_replaceable(path: &Path, found: &Metadata, format: Format) -> io::Result<bool> {
    if found.len() == 0 {
        return Ok(true);
    }
    Ok(found.mode() & 0o7777 == 0o600 && format.has_written(&std::fs::read(path)?))
}

fn replace(session: &Path, path: &Path, content: &[u8]) -> io::Result<FileStamp> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or(ErrorKind::IsADirectory)?);
    name.push(format!(".{}", folder::random_name()?));
    let unfinished = path.with_file_name(name);
    let file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    let write = || -> io::Result<FileStamp> {
        note_unfinished(session, &absolute(&unfinished)?, &file.metadata()?)?;
        (&file).write_all(content)?;
        // a network file system may set the time of the last change when the file is closed
        drop(file);
        let stamp = FileStamp::of(&unfinished.symlink_metadata()?);
        note_complete(session, &absolute(path)?, stamp)?;
        std::fs::rename(&unfinished, path)?;
        Ok(stamp)
    };
    let written = write();
    if written.is_err() {
        let _gone = std::fs::remove_file(&unfinished).is_err();
    }
    written
}

fn cannot_write(name: &str, error: &io::Error) -> Failure {
    Failure::own(
        format!("cannot write {name}: {error}"),
        "name a file in a folder that can be written to, on a disk that is not full",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Variables;
    use super::*;
    use std::fs::{Permissions, read_to_string, set_permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn rendered(format: Format) -> Rendered {
        let variables: Variables = [("A".into(), "b c".into())].into();
        format.render(&variables)
    }

    fn write(path: &Path, format: Format) -> Result<EnvironmentFile, Failure> {
        let session = tempfile::tempdir().unwrap();
        EnvironmentFile::write(session.path(), "--env-file", path, format, &rendered(format))
    }

    #[test]
    fn file_of_a_killed_launcher_goes_with_the_sessions_folder() {
        let folder = tempfile::tempdir().unwrap();
        let session = folder.path().join("session");
        std::fs::create_dir(&session).unwrap();
        for private in [folder.path(), &session] {
            set_permissions(private, Permissions::from_mode(0o700)).unwrap();
        }
        let path = folder.path().join("env");
        let format = Format::Json;
        let file = EnvironmentFile::write(&session, "--env-json", &path, format, &rendered(format));
        std::mem::forget(file.unwrap());
        kinject_protocol::folder::remove(&session, geteuid().as_raw()).unwrap();
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn file_is_private_and_goes_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        for (format, end) in [
            (Format::Dotenv, "A='b c'\n"),
            (Format::Json, "{\n  \"A\": \"b c\"\n}\n"),
        ] {
            let path = folder.path().join("env");
            let file = write(&path, format).unwrap();
            assert!(read_to_string(&path).unwrap().ends_with(end));
            assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
            assert_eq!(folder.path().read_dir().unwrap().count(), 1);
            drop(file);
            assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        }
    }

    #[test]
    fn file_that_replaced_ours_meanwhile_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("env"), folder.path().join("other"));
        let file = write(&path, Format::Dotenv).unwrap();
        std::fs::write(&other, "mine").unwrap();
        std::fs::rename(&other, &path).unwrap();
        drop(file);
        assert_eq!(read_to_string(&path).unwrap(), "mine");
    }

    /// An editor that saves in place keeps the inode.
    #[test]
    fn file_that_the_user_has_edited_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        let file = write(&path, Format::Dotenv).unwrap();
        std::fs::write(&path, "mine").unwrap();
        drop(file);
        assert_eq!(read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn leftover_of_a_killed_session_and_an_empty_file_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for format in [Format::Dotenv, Format::Json] {
            let path = folder.path().join(format!("{format:?}"));
            std::mem::forget(write(&path, format).unwrap());
            assert!(path.exists());
            drop(write(&path, format).expect("it is kinject's"));
            assert!(!path.exists());
            std::fs::write(&path, "").unwrap();
            assert!(write(&path, format).is_ok());
        }
    }

    #[test]
    fn file_of_the_users_own_a_folder_and_a_link_are_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        let error = |path: &Path, format| {
            EnvironmentFile::check("--env-file", path, format)
                .unwrap_err()
                .error
        };
        for text in ["A=b\n", "{\"A\": \"b\"}", "{\n  \"A\": 1\n}\n"] {
            std::fs::write(&path, text).unwrap();
            set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            for format in [Format::Dotenv, Format::Json] {
                assert_eq!(
                    error(&path, format),
                    format!(
                        "--env-file {} is there already, and kinject has not written it",
                        path.display()
                    )
                );
            }
            assert_eq!(read_to_string(&path).unwrap(), text);
        }
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(error(&link, Format::Dotenv).ends_with("link is no regular file"));
        assert!(error(Path::new("/dev/stdout"), Format::Dotenv).ends_with(" is no regular file"));
        assert!(error(folder.path(), Format::Dotenv).ends_with(" is a folder"));
        let missing = folder.path().join("missing/env");
        assert!(error(&missing, Format::Dotenv).starts_with("cannot write --env-file "));
        if geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(1), Some(1)).unwrap();
            assert!(error(&path, Format::Dotenv).ends_with(" belongs to another user"));
        }
    }
}
