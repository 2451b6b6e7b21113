//! The package for Debian and its relatives, built by dpkg-deb(1).

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use kinject_bundle::Architecture;

use super::contents::{Contents, FILE_MODE, InstalledFile, ZSH_COMPLETION, fix_modes_and_times};
use super::{DESCRIPTION, SUMMARY, run_tool, write as write_file};
use crate::workspace;

/// Where zsh looks for the functions of Debian's packages.
const DEBIAN_ZSH_COMPLETION: &str = "share/zsh/vendor-completions/_kinject";

/// Where Debian's policy has the licenses of a package.
const COPYRIGHT: &str = "share/doc/kinject/copyright";

/// Writes the package into a folder. It has no scripts of its own, so nothing of it runs when it is installed or
/// removed, and dpkg removes exactly what it has installed.
pub(super) fn write(
    contents: &Contents,
    copyright: &str,
    architecture: Architecture,
    time: u64,
    folder: &Path,
) -> Result<()> {
    let around = tempfile::tempdir().context("making a folder for the package's files")?;
    // the temporary folder itself is private, and the package's first entry has the mode of this one
    let root = around.path().join("root");
    let contents = contents.for_debian(copyright);
    contents.write_into(&root.join("usr"))?;
    let control = control(architecture, contents.size());
    write_file(&root.join("DEBIAN/control"), control.as_bytes())?;
    fix_modes_and_times(&root, time)?;
    let name = format!(
        "kinject_{}_{}.deb",
        workspace::VERSION,
        architecture.kubernetes_name()
    );
    // with several threads xz compresses in blocks, whose number depends on the machine
    run_tool(
        Command::new("dpkg-deb")
            .env("SOURCE_DATE_EPOCH", time.to_string())
            .args(["--root-owner-group", "-Zxz", "--threads-max=1", "--build"])
            .arg(root)
            .arg(folder.join(name)),
        "install dpkg (Debian: dpkg)",
    )
    .map(drop)
}

impl Contents {
    /// The same files where Debian expects them, with its file on copyrights.
    fn for_debian(&self, copyright: &str) -> Self {
        let mut files = self.0.clone();
        for file in &mut files {
            if file.path == ZSH_COMPLETION {
                file.path = DEBIAN_ZSH_COMPLETION.to_owned();
            }
        }
        files.push(InstalledFile {
            path: COPYRIGHT.to_owned(),
            mode: FILE_MODE,
            content: copyright.as_bytes().to_vec(),
        });
        Self(files)
    }

    fn size(&self) -> usize {
        self.0.iter().map(|file| file.content.len()).sum()
    }
}

/// What dpkg is to know of the package (deb-control(5)).
fn control(architecture: Architecture, size: usize) -> String {
    format!(
        "Package: kinject\n\
         Version: {version}\n\
         Architecture: {architecture}\n\
         Maintainer: the developers of kinject <kinject@kinject.invalid>\n\
         Installed-Size: {kibibytes}\n\
         Depends: libc6 (>= 2.17)\n\
         Section: net\n\
         Priority: optional\n\
         Description: {SUMMARY}\n {description}\n",
        version = workspace::VERSION,
        kibibytes = size.div_ceil(1024),
        description = DESCRIPTION.replace('\n', "\n "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_file_names_architecture_and_size_and_indents_its_description() {
        let control = control(Architecture::Arm64, 1025);
        assert!(control.starts_with("Package: kinject\nVersion: "), "{control}");
        assert!(control.contains("\nArchitecture: arm64\n"), "{control}");
        assert!(control.contains("\nInstalled-Size: 2\n"), "{control}");
        let description = control.split("\nDescription: ").nth(1).unwrap();
        assert!(
            description.lines().skip(1).all(|line| line.starts_with(' ')),
            "{control}"
        );
    }
}
