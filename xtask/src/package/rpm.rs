//! The package for Fedora, SUSE and their relatives, built by rpmbuild(8).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use kinject_bundle::Architecture;

use super::contents::Contents;
use super::{DESCRIPTION, SUMMARY, write as write_file};
use crate::{hint, process, workspace};

/// Folders below `/usr` that the system's own packages have.
const OF_EVERY_SYSTEM: [&str; 6] = ["", "bin", "share", "share/doc", "share/man", "share/man/man1"];

/// Writes the package into a folder.
pub(crate) fn write(contents: &Contents, architecture: Architecture, time: u64, folder: &Path) -> Result<()> {
    let build = tempfile::tempdir().context("making a folder for the package's files")?;
    let place = |name: &str| build.path().join(name);
    contents.write_into(&place("files/usr"))?;
    let spec = spec(contents, &place("files"));
    write_file(&place("kinject.spec"), spec.as_bytes())?;
    let architecture = architecture.rust_name();
    process::output(
        Command::new("rpmbuild")
            .env("SOURCE_DATE_EPOCH", time.to_string())
            .args(["-bb", "--quiet", "--target", &format!("{architecture}-linux")])
            .arg("--define")
            .arg(format!("_topdir {}", place("topdir").display()))
            .arg("--dbpath")
            .arg(place("database"))
            .arg(place("kinject.spec")),
    )
    .map_err(|error| {
        hint::error(
            format!("{error:#}"),
            "install rpmbuild (Debian: rpm; Fedora: rpm-build)",
        )
    })?;
    let name = format!("kinject-{}-1.{architecture}.rpm", workspace::VERSION);
    let built = place("topdir/RPMS").join(architecture).join(&name);
    fs::copy(&built, folder.join(&name)).with_context(|| format!("copying {}", built.display()))?;
    Ok(())
}

/// How rpmbuild makes the package: from files that are there, which it leaves as they are.
fn spec(contents: &Contents, files: &Path) -> String {
    let mut spec = format!(
        "%global debug_package %{{nil}}\n\
         %global __os_install_post %{{nil}}\n\
         %global _build_id_links none\n\
         %global _buildhost kinject.invalid\n\
         %global use_source_date_epoch_as_buildtime 1\n\
         %global clamp_mtime_to_source_date_epoch 1\n\
         %global _binary_payload w9.gzdio\n\
         Name: kinject\n\
         Version: {version}\n\
         Release: 1\n\
         Summary: {SUMMARY}\n\
         License: MIT OR Apache-2.0\n\
         AutoReqProv: no\n\
         Requires: glibc >= 2.17\n\
         %description\n{DESCRIPTION}\n\
         %install\n\
         cp -a '{files}/.' '%{{buildroot}}'\n\
         %files\n",
        version = workspace::VERSION,
        files = files.display(),
    );
    for folder in folders(contents) {
        spec.push_str(&format!("%dir %attr(755, root, root) \"/usr/{folder}\"\n"));
    }
    for file in &contents.0 {
        spec.push_str(&format!(
            "%attr({:o}, root, root) \"/usr/{}\"\n",
            file.mode, file.path
        ));
    }
    spec
}

/// The folders that are not of every system: rpm removes those that a package names, with the last one that does.
fn folders(contents: &Contents) -> BTreeSet<String> {
    let around = contents
        .0
        .iter()
        .flat_map(|file| Path::new(&file.path).ancestors().skip(1));
    let folders = around.map(|folder| folder.display().to_string());
    folders
        .filter(|folder| !OF_EVERY_SYSTEM.contains(&folder.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::contents::InstalledFile;

    #[test]
    fn package_owns_the_folders_that_go_with_it() {
        let file = |path: &str| InstalledFile {
            path: path.to_owned(),
            mode: 0o644,
            content: Vec::new(),
        };
        let contents = Contents(vec![
            file("bin/kinject"),
            file("share/doc/kinject/docs/README.md"),
            file("share/man/man1/kinject.1.gz"),
        ]);
        let spec = spec(&contents, Path::new("/build"));
        let owned: Vec<&str> = spec.lines().filter(|line| line.starts_with("%dir")).collect();
        assert_eq!(
            owned,
            [
                "%dir %attr(755, root, root) \"/usr/share/doc/kinject\"",
                "%dir %attr(755, root, root) \"/usr/share/doc/kinject/docs\"",
            ]
        );
        assert!(
            spec.contains("%attr(644, root, root) \"/usr/bin/kinject\"\n"),
            "{spec}"
        );
    }
}
