//! The files that are installed, by their paths below `/usr`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use kinject_image::gzip;

use super::{read, write};
use crate::{cargo, process, workspace};

/// Beside the folders of [`PAGES`], to which they lead.
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
];

/// Pages, and the manifests that they tell administrators to apply.
const PAGES: [&str; 2] = ["docs", "deploy"];

/// The scripts by which shells complete the command line.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/kinject"),
    ("fish", "share/fish/vendor_completions.d/kinject.fish"),
    ("zsh", ZSH_COMPLETION),
];

/// Where zsh looks for functions of others; Debian's has a folder of its own for packages.
pub(crate) const ZSH_COMPLETION: &str = "share/zsh/site-functions/_kinject";

/// One file.
pub(crate) struct InstalledFile {
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) content: Vec<u8>,
}

/// All files, sorted by their paths.
pub(crate) struct Contents(pub(crate) Vec<InstalledFile>);

impl Contents {
    /// The executable with its manual pages, completions and documentation.
    pub(crate) fn of(executable: &Path) -> Result<Self> {
        let mut files = vec![InstalledFile {
            path: "bin/kinject".to_owned(),
            mode: 0o755,
            content: read(executable)?,
        }];
        let mut add = |path: String, content: Vec<u8>| {
            files.push(InstalledFile {
                path,
                mode: 0o644,
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
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Self(files))
    }

    /// Writes the files into a folder that stands for `/usr`.
    pub(crate) fn write_into(&self, folder: &Path) -> Result<()> {
        for file in &self.0 {
            let place = folder.join(&file.path);
            write(&place, &file.content)?;
            fs::set_permissions(&place, fs::Permissions::from_mode(file.mode))
                .with_context(|| format!("changing the mode of {}", place.display()))?;
        }
        Ok(())
    }
}

/// kinject for this machine, whichever one is packaged.
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
