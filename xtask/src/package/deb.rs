//! The package for Debian and its relatives, built by dpkg-deb(1).

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use kinject_bundle::Architecture;

use super::contents::{Contents, InstalledFile, ZSH_COMPLETION};
use super::{DESCRIPTION, SUMMARY, write as write_file};
use crate::{hint, process, workspace};

/// Where Debian's zsh looks for the functions of packages.
const DEBIANS_ZSH_COMPLETION: &str = "share/zsh/vendor-completions/_kinject";

/// Debian's place for the license.
const COPYRIGHT: &str = "share/doc/kinject/copyright";

/// Writes the package into a folder.
pub(crate) fn write(contents: &Contents, architecture: Architecture, time: u64, folder: &Path) -> Result<()> {
    let root = tempfile::tempdir().context("making a folder for the package's files")?;
    contents
        .as_debian_has_them()?
        .write_into(&root.path().join("usr"))?;
    let control = control(architecture, contents.size());
    write_file(&root.path().join("DEBIAN/control"), control.as_bytes())?;
    let name = format!(
        "kinject_{}_{}.deb",
        workspace::VERSION,
        architecture.kubernetes_name()
    );
    // several threads compress in blocks, whose number depends on the machine
    process::output(
        Command::new("dpkg-deb")
            .env("SOURCE_DATE_EPOCH", time.to_string())
            .args(["--root-owner-group", "-Zxz", "--threads-max=1", "--build"])
            .arg(root.path())
            .arg(folder.join(name)),
    )
    .map_err(|error| hint::error(format!("{error:#}"), "install dpkg (Debian: dpkg)"))?;
    Ok(())
}

impl Contents {
    fn as_debian_has_them(&self) -> Result<Self> {
        let mut files: Vec<InstalledFile> = Vec::new();
        for file in &self.0 {
            let path = match file.path.as_str() {
                ZSH_COMPLETION => DEBIANS_ZSH_COMPLETION,
                path => path,
            };
            files.push(InstalledFile {
                path: path.to_owned(),
                mode: file.mode,
                content: file.content.clone(),
            });
        }
        files.push(InstalledFile {
            path: COPYRIGHT.to_owned(),
            mode: 0o644,
            content: super::read(&workspace::root().join("LICENSE-MIT"))?,
        });
        Ok(Self(files))
    }

    fn size(&self) -> usize {
        self.0.iter().map(|file| file.content.len()).sum()
    }
}

/// What dpkg knows of the package (deb-control(5)).
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
    fn control_file_names_package_architecture_and_size_and_continues_its_description() {
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
