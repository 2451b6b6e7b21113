//! The folder into which packages are written. A user names it, so it may hold files that are not kinject's: only
//! those that an earlier run wrote are replaced, which its list of checksums names.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{CHECKSUM_FILE, Checksums, read_checksums, write_checksums};
use crate::hint;

/// What the names of all files of a release begin with, except that of the list of checksums.
const PREFIX: &str = "kinject";

/// A folder that holds nothing but files of an earlier run.
#[derive(Debug)]
pub(super) struct OutputFolder {
    path: PathBuf,
    /// The packages in it, by their names.
    earlier: BTreeSet<String>,
}

impl OutputFolder {
    /// Looks at a folder, which need not exist, and changes nothing.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut earlier = BTreeSet::new();
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            entries => Some(entries.with_context(|| format!("reading {}", path.display()))?),
        };
        let listed = match entries {
            Some(_) => read_checksums(path)?,
            None => None,
        };
        for entry in entries.into_iter().flatten() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_listed = listed
                .as_ref()
                .is_some_and(|listed| name == CHECKSUM_FILE || listed.contains_key(&name));
            let is_ours = is_listed && (name == CHECKSUM_FILE || name.starts_with(PREFIX));
            if !is_ours || !entry.file_type()?.is_file() {
                return Err(hint::error(
                    format!(
                        "{} holds {name}, which no earlier run has written",
                        path.display()
                    ),
                    "name a new or empty folder with --output, or move that file elsewhere",
                ));
            }
            if name != CHECKSUM_FILE {
                earlier.insert(name);
            }
        }
        Ok(Self {
            path: path.to_owned(),
            earlier,
        })
    }

    /// Removes the files of the earlier run, and copies those of the new one from the folder in which it built them.
    /// The list of checksums is written before the files it names: a run that is killed leaves only files that the
    /// next one may replace.
    pub(super) fn replace_files(&self, built: &Path, checksums: &Checksums) -> Result<()> {
        for name in &self.earlier {
            let file = self.path.join(name);
            fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
        }
        write_checksums(checksums, &self.path)?;
        for name in checksums.keys() {
            let file = self.path.join(name);
            // it keeps the executable bit
            fs::copy(built.join(name), &file).with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::checksums;
    use std::os::unix::fs::symlink;

    /// Fills the folder with one package of that name.
    fn publish(folder: &Path, name: &str) {
        let built = tempfile::tempdir().unwrap();
        fs::write(built.path().join(name), name).unwrap();
        OutputFolder::open(folder)
            .unwrap()
            .replace_files(built.path(), &checksums(built.path()).unwrap())
            .unwrap();
    }

    fn names(folder: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn new_and_empty_folders_are_filled_and_earlier_files_are_replaced() {
        let around = tempfile::tempdir().unwrap();
        let new = around.path().join("new/packages");
        publish(&new, "kinject-1.deb");
        assert_eq!(
            names(&new),
            ["SHA256SUMS", "kinject-1.deb"].map(str::to_owned).into()
        );
        let empty = tempfile::tempdir().unwrap();
        publish(empty.path(), "kinject-1.deb");
        publish(empty.path(), "kinject-2.deb");
        assert_eq!(
            names(empty.path()),
            ["SHA256SUMS", "kinject-2.deb"].map(str::to_owned).into()
        );
    }

    #[test]
    fn folder_with_a_file_of_others_is_refused_and_keeps_all_files() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), "kinject-1.deb");
        fs::write(folder.path().join("kinject-notes.txt"), "kept").unwrap();
        let before = names(folder.path());
        let error = OutputFolder::open(folder.path()).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with(" holds kinject-notes.txt, which no earlier run has written"),
            "{error}"
        );
        assert!(hint::of(&error).unwrap().contains("--output"));
        assert_eq!(names(folder.path()), before);
    }

    #[test]
    fn list_of_checksums_of_another_project_does_not_give_its_files_away() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("other.tar"), "kept").unwrap();
        let others = checksums(folder.path()).unwrap();
        write_checksums(&others, folder.path()).unwrap();
        let error = OutputFolder::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("other.tar"), "{error}");
    }

    #[test]
    fn folder_or_link_under_the_name_of_a_listed_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), "kinject-1.deb");
        let package = folder.path().join("kinject-1.deb");
        fs::remove_file(&package).unwrap();
        fs::create_dir(&package).unwrap();
        OutputFolder::open(folder.path()).unwrap_err();
        fs::remove_dir(&package).unwrap();
        symlink("/etc/passwd", &package).unwrap();
        OutputFolder::open(folder.path()).unwrap_err();
    }

    #[test]
    fn run_that_was_killed_while_it_copied_leaves_a_folder_that_the_next_one_fills() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), "kinject-1.deb");
        let built = tempfile::tempdir().unwrap();
        // the second of these files is missing, so copying fails there
        fs::write(built.path().join("kinject-2.deb"), "").unwrap();
        let mut listed = checksums(built.path()).unwrap();
        listed.insert("kinject-2.rpm".to_owned(), "0123".to_owned());
        OutputFolder::open(folder.path())
            .unwrap()
            .replace_files(built.path(), &listed)
            .unwrap_err();
        publish(folder.path(), "kinject-3.deb");
        assert_eq!(
            names(folder.path()),
            ["SHA256SUMS", "kinject-3.deb"].map(str::to_owned).into()
        );
    }
}
