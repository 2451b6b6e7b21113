//! The files that are installed, by their paths below `/usr`.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use kinject_image::gzip;

use super::licenses::THIRD_PARTY;
use super::{read, write};
use crate::{cargo, process, workspace};

/// Documents at the top of the repository; their links lead to [`PAGES`].
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
];

/// Folders with the manual's pages and with the manifests that these tell administrators to apply.
const PAGES: [&str; 2] = ["docs", "deploy"];

/// The scripts by which shells complete the command line, and where each shell looks for them.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/kinject"),
    ("fish", "share/fish/vendor_completions.d/kinject.fish"),
    ("zsh", ZSH_COMPLETION),
];

/// Where zsh looks for functions that are not its own, except on Debian.
pub(super) const ZSH_COMPLETION: &str = "share/zsh/site-functions/_kinject";

/// The modes that everything in a package has.
pub(super) const FOLDER_MODE: u32 = 0o755;
pub(super) const EXECUTABLE_MODE: u32 = 0o755;
pub(super) const FILE_MODE: u32 = 0o644;

/// One file.
#[derive(Clone)]
pub(super) struct InstalledFile {
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) content: Vec<u8>,
}

/// All files, sorted by their paths.
pub(super) struct Contents(pub(super) Vec<InstalledFile>);

impl Contents {
    /// The executable with its manual pages, completions, documentation and the licenses of third-party software.
    pub(super) fn of(executable: &Path, third_party_licenses: String) -> Result<Self> {
        let mut files = vec![InstalledFile {
            path: "bin/kinject".to_owned(),
            mode: EXECUTABLE_MODE,
            content: read(executable)?,
        }];
        let mut add = |path: String, content: Vec<u8>| {
            files.push(InstalledFile {
                path,
                mode: FILE_MODE,
                content,
            });
        };
        for (shell, path) in COMPLETIONS {
            let script = process::output(kinject().args(["completion", shell]))?;
            add(path.to_owned(), script.into_bytes());
        }
        let pages = tempfile::tempdir().context("making a folder for manual pages")?;
        process::output(kinject().arg("manual-pages").arg(pages.path()))?;
        for (name, content) in files_in(pages.path())? {
            add(format!("share/man/man1/{name}.gz"), gzip(&content)?);
        }
        for name in DOCUMENTS {
            add(
                format!("share/doc/kinject/{name}"),
                read(&workspace::root().join(name))?,
            );
        }
        for folder in PAGES {
            for (name, content) in files_in(&workspace::root().join(folder))? {
                add(format!("share/doc/kinject/{folder}/{name}"), content);
            }
        }
        add(
            format!("share/doc/kinject/{THIRD_PARTY}"),
            third_party_licenses.into_bytes(),
        );
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Self(files))
    }

    /// Writes the files into a folder that stands for `/usr`.
    pub(super) fn write_into(&self, folder: &Path) -> Result<()> {
        for file in &self.0 {
            let place = folder.join(&file.path);
            write(&place, &file.content)?;
            fs::set_permissions(&place, Permissions::from_mode(file.mode))
                .with_context(|| format!("changing the mode of {}", place.display()))?;
        }
        Ok(())
    }
}

/// Gives a folder and all that is in it the modes of a package and one time: tools that make packages copy both, and
/// what was just written has modes that depend on the umask.
pub(super) fn fix_modes_and_times(path: &Path, time: u64) -> Result<()> {
    let failed = || format!("changing mode and time of {}", path.display());
    let found = fs::symlink_metadata(path).with_context(failed)?;
    let mode = match (found.is_dir(), found.mode() & 0o100 != 0) {
        (true, _) => FOLDER_MODE,
        (false, true) => EXECUTABLE_MODE,
        (false, false) => FILE_MODE,
    };
    fs::set_permissions(path, Permissions::from_mode(mode)).with_context(failed)?;
    if found.is_dir() {
        for entry in fs::read_dir(path).with_context(failed)? {
            fix_modes_and_times(&entry?.path(), time)?;
        }
    }
    // a folder's time changes with what is put into it, so its own comes last
    File::open(path)
        .and_then(|file| file.set_modified(UNIX_EPOCH + Duration::from_secs(time)))
        .with_context(failed)
}

/// kinject built for this machine, which may be another one than the packages are for.
fn kinject() -> std::process::Command {
    let mut command = cargo::command();
    command.args(["run", "--quiet", "--package", "kinject", "--"]);
    command
}

/// The regular files of a folder with their names.
fn files_in(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push((
                entry.file_name().to_string_lossy().into_owned(),
                read(&entry.path())?,
            ));
        }
    }
    Ok(files)
}
