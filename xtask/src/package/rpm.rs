//! The package for Fedora, SUSE and their relatives, built by rpmbuild(8).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use kinject_bundle::Architecture;

use super::contents::{Contents, FOLDER_MODE, fix_modes_and_times};
use super::{DESCRIPTION, LICENSE, SUMMARY, run_tool, write as write_file};
use crate::workspace;

/// Folders below `/usr` that packages of the distribution own.
const DISTRIBUTION_FOLDERS: [&str; 6] = ["", "bin", "share", "share/doc", "share/man", "share/man/man1"];

/// Writes the package into a folder.
pub(super) fn write(contents: &Contents, architecture: Architecture, time: u64, folder: &Path) -> Result<()> {
    let build = tempfile::tempdir().context("making a folder for the package's files")?;
    let place = |name: &str| build.path().join(name);
    contents.write_into(&place("files/usr"))?;
    fix_modes_and_times(&place("files"), time)?;
    let spec = spec(contents, &place("files"));
    write_file(&place("kinject.spec"), spec.as_bytes())?;
    let architecture = architecture.rust_name();
    run_tool(
        Command::new("rpmbuild")
            .env("SOURCE_DATE_EPOCH", time.to_string())
            .args(["-bb", "--quiet", "--target", &format!("{architecture}-linux")])
            .arg("--define")
            .arg(format!("_topdir {}", place("topdir").display()))
            .arg("--dbpath")
            .arg(place("database"))
            .arg(place("kinject.spec")),
        "install rpmbuild (Debian: rpm; Fedora: rpm-build)",
    )?;
    let name = format!("kinject-{}-1.{architecture}.rpm", workspace::VERSION);
    let built = place("topdir/RPMS").join(architecture).join(&name);
    fs::copy(&built, folder.join(&name)).with_context(|| format!("copying {}", built.display()))?;
    Ok(())
}

/// The spec file, by which rpmbuild makes the package from files that are built already and does not change them.
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
         License: {LICENSE}\n\
         AutoReqProv: no\n\
         Requires: glibc >= 2.17\n\
         %description\n{DESCRIPTION}\n\
         %install\n\
         cp -a '{files}/.' '%{{buildroot}}'\n\
         %files\n",
        version = workspace::VERSION,
        files = files.display(),
    );
    for folder in owned_folders(contents) {
        spec.push_str(&format!(
            "%dir %attr({FOLDER_MODE:o}, root, root) \"/usr/{folder}\"\n"
        ));
    }
    for file in &contents.0 {
        spec.push_str(&format!(
            "%attr({:o}, root, root) \"/usr/{}\"\n",
            file.mode, file.path
        ));
    }
    spec
}

/// The folders that the package owns together with others that use them: rpm removes a folder with the last package
/// that owns it, and leaves one that no package owns.
fn owned_folders(contents: &Contents) -> BTreeSet<String> {
    let around = contents
        .0
        .iter()
        .flat_map(|file| Path::new(&file.path).ancestors().skip(1));
    let folders = around.map(|folder| folder.display().to_string());
    folders
        .filter(|folder| !DISTRIBUTION_FOLDERS.contains(&folder.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::contents::InstalledFile;

    #[test]
    fn spec_lists_each_folder_that_the_distribution_does_not_own() {
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
