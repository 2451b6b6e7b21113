//! Compares two builds of the same commit in different folders: a difference means that a package depends on where, or
//! on which leftovers, it was built.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Checksums, Release, read_checksums};
use crate::{cargo, commit, hint, process, workspace};

/// The commit that both builds are made of; fails unless the files are those of the commit.
pub(super) fn committed() -> Result<String> {
    match commit::of_workspace() {
        Some(commit) if !commit.ends_with("-dirty") => Ok(commit),
        Some(_) => Err(hint::error(
            "a second build would be made of other sources: files differ from the last commit",
            "commit or stash the changes first",
        )),
        None => Err(hint::error(
            "a second build is made of a clone, and this folder is none",
            "run it in a clone of the repository",
        )),
    }
}

/// Clones the commit into another folder, builds the release there from nothing, and compares the checksums.
pub(super) fn build_again_and_compare(release: &Release, commit: &str, first: &Checksums) -> Result<()> {
    let around = tempfile::Builder::new()
        .prefix("second-build-")
        .tempdir_in(workspace::target())
        .context("making a folder for the second build")?;
    let clone = around.path().join("clone");
    clone_at(commit, workspace::root(), &clone)?;
    let packages = around.path().join("packages");
    process::visible(&mut build(release, &clone, &packages)).context("building a second time")?;
    let second = read_checksums(&packages)?.context("the second build has written no checksums")?;
    let different = different(first, &second);
    if !different.is_empty() {
        let kept = around.keep();
        bail!(
            "the second build differs from the first: {}; it is kept in {}",
            different.join(", "),
            kept.display()
        );
    }
    println!("a second build, in another folder, gives the same bytes");
    Ok(())
}

/// Clones a repository into a new folder, at this commit: a newer one may have been made during the first build.
fn clone_at(commit: &str, repository: &Path, clone: &Path) -> Result<()> {
    process::output(
        Command::new("git")
            .args(["clone", "--quiet", "--no-checkout"])
            .arg(repository)
            .arg(clone),
    )?;
    process::output(
        Command::new("git")
            .current_dir(clone)
            .args(["checkout", "--quiet", "--detach", commit]),
    )?;
    Ok(())
}

/// `cargo xtask package` of the clone.
fn build(release: &Release, clone: &Path, packages: &Path) -> Command {
    let mut command = cargo::command();
    command
        .current_dir(clone)
        // what the first build has compiled must not be taken for the second's
        .env_remove("CARGO_TARGET_DIR")
        .env("SOURCE_DATE_EPOCH", release.time.to_string())
        .args([
            "run",
            "--quiet",
            "--package",
            "xtask",
            "--",
            "package",
            "--output",
        ])
        .arg(packages);
    for architecture in &release.architectures {
        command.args(["--target", architecture.rust_name()]);
    }
    if let Some(url) = &release.url {
        command.args(["--url", url]);
    }
    command
}

/// The names of files that are not the same in both builds, or that only one of them has.
fn different<'a>(first: &'a Checksums, second: &'a Checksums) -> Vec<&'a str> {
    let mut names: Vec<&str> = first
        .keys()
        .chain(second.keys())
        .filter(|name| first.get(*name) != second.get(*name))
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clone_has_the_files_of_its_commit_though_there_is_a_newer_one() {
        let folder = tempfile::tempdir().unwrap();
        let (repository, clone) = (folder.path().join("repository"), folder.path().join("clone"));
        std::fs::create_dir(&repository).unwrap();
        let git = |arguments: &[&str]| {
            let identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"];
            let mut git = Command::new("git");
            process::output(git.current_dir(&repository).args(identity).args(arguments)).unwrap()
        };
        git(&["init", "--quiet"]);
        let commits = ["first", "second"].map(|content| {
            std::fs::write(repository.join("file"), content).unwrap();
            git(&["add", "file"]);
            git(&["commit", "--quiet", "--message", content]);
            git(&["rev-parse", "HEAD"])
        });
        clone_at(commits[0].trim(), &repository, &clone).unwrap();
        assert_eq!(std::fs::read_to_string(clone.join("file")).unwrap(), "first");
    }

    #[test]
    fn files_that_differ_or_are_in_one_build_alone_are_named_once() {
        let build = |files: &[(&str, &str)]| -> Checksums {
            let files = files.iter();
            files
                .map(|(name, checksum)| ((*name).to_owned(), (*checksum).to_owned()))
                .collect()
        };
        let first = build(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let second = build(&[("a", "1"), ("b", "9"), ("d", "4")]);
        assert_eq!(different(&first, &second), ["b", "c", "d"]);
        assert!(different(&first, &first).is_empty());
    }
}
