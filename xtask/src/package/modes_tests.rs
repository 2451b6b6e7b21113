//! Packages that are built with a umask of 077, read back: modes, owners and times in them are fixed, and what the
//! build could read alone is for all users to read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use kinject_bundle::Architecture;
use kinject_test_support::skip;
use rustix::fs::Mode;
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::contents::{Contents, InstalledFile};
use super::{deb, rpm};
use crate::workspace;

/// The time of the packaged files.
const TIME: u64 = 1_700_000_000;

/// Mode, owner, group and time of an entry.
type Attributes = (u32, String, String, u64);

fn of_root(mode: u32) -> Attributes {
    (mode, "root".to_owned(), "root".to_owned(), TIME)
}

fn contents() -> Contents {
    let file = |path: &str, mode: u32| InstalledFile {
        path: path.to_owned(),
        mode,
        content: path.as_bytes().to_vec(),
    };
    Contents(vec![
        file("bin/kinject", 0o755),
        file("share/doc/kinject/docs/README.md", 0o644),
        file("share/fish/vendor_completions.d/kinject.fish", 0o644),
        file("share/man/man1/kinject.1.gz", 0o644),
    ])
}

/// Runs a function in a thread that has a umask of 077; others keep theirs.
fn with_umask_077(run: impl FnOnce() + Send) {
    thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: FS parts umask and working directory from those of other threads, and no descriptors.
            unsafe { unshare_unsafe(UnshareFlags::FS) }.unwrap();
            rustix::process::umask(Mode::from_raw_mode(0o077));
            run();
        });
    });
}

fn stdout(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// The entries of a tar archive, by their paths.
fn entries(archive: &[u8]) -> BTreeMap<String, Attributes> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        let owner = header.username().unwrap().unwrap().to_owned();
        let group = header.groupname().unwrap().unwrap().to_owned();
        let attributes = (
            header.mode().unwrap() & 0o7777,
            owner,
            group,
            header.mtime().unwrap(),
        );
        let path = entry.path().unwrap().display().to_string();
        (path.trim_start_matches("./").to_owned(), attributes)
    });
    entries.collect()
}

/// Writes the package for Debian into the folder, and gives its path.
fn write_deb(folder: &Path) -> PathBuf {
    with_umask_077(|| {
        deb::write(&contents(), "Format: test\n", Architecture::Amd64, TIME, folder).unwrap();
    });
    folder.join(format!("kinject_{}_amd64.deb", workspace::VERSION))
}

#[test]
fn deb_built_under_umask_077_has_fixed_modes_owners_and_times() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        return skip::not_run("the package for Debian", "dpkg-deb is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    let package = write_deb(folder.path());
    let files = stdout(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&package));
    let files = entries(&files);
    assert_eq!(files["usr/bin/kinject"], of_root(0o755));
    assert_eq!(files["usr/share/doc/kinject/copyright"], of_root(0o644));
    for (path, attributes) in &files {
        let is_executable = path.ends_with('/') || path == "usr/bin/kinject" || path.is_empty();
        let mode = if is_executable { 0o755 } else { 0o644 };
        assert_eq!(*attributes, of_root(mode), "{path}");
    }
    assert_eq!(files.len(), 5 + 11, "{files:?}");
    let control = stdout(Command::new("dpkg-deb").arg("--ctrl-tarfile").arg(&package));
    let control = entries(&control);
    assert_eq!(control["control"], of_root(0o644));
    assert!(
        !control
            .keys()
            .any(|name| name.ends_with("rm") || name.ends_with("inst")),
        "a script would run as root: {control:?}"
    );
}

#[test]
fn deb_built_twice_has_the_same_bytes() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        return skip::not_run("the package for Debian", "dpkg-deb is not installed");
    }
    let build = || {
        let folder = tempfile::tempdir().unwrap();
        fs::read(write_deb(folder.path())).unwrap()
    };
    assert!(build() == build());
}

#[test]
fn rpm_built_under_umask_077_has_fixed_attributes_and_owns_its_folders() {
    if Command::new("rpmbuild").arg("--version").output().is_err() {
        return skip::not_run("the package for Fedora", "rpmbuild is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    with_umask_077(|| rpm::write(&contents(), Architecture::Amd64, TIME, folder.path()).unwrap());
    let package = folder
        .path()
        .join(format!("kinject-{}-1.x86_64.rpm", workspace::VERSION));
    let listed = stdout(
        Command::new("rpm")
            .arg("--dbpath")
            .arg(folder.path().join("database"))
            .args(["--query", "--package", "--queryformat"])
            .arg("[%{FILENAMES} %{FILEMODES:octal} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILEMTIMES}\n]")
            .arg(&package),
    );
    let listed = String::from_utf8(listed).unwrap();
    let files: BTreeMap<&str, (&str, Attributes)> = listed
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [path, mode, owner, group, time] = words[..] else {
                panic!("{line}");
            };
            // a type, as in st_mode, and permissions
            let (kind, mode) = mode.split_at(mode.len() - 4);
            let mode = u32::from_str_radix(mode, 8).unwrap();
            let attributes = (mode, owner.to_owned(), group.to_owned(), time.parse().unwrap());
            (path, (kind, attributes))
        })
        .collect();
    let folders: Vec<&str> = files
        .iter()
        .filter(|(_, (kind, _))| kind.trim_start_matches('0') == "4")
        .map(|(path, _)| *path)
        .collect();
    assert_eq!(
        folders,
        [
            "/usr/share/doc/kinject",
            "/usr/share/doc/kinject/docs",
            "/usr/share/fish",
            "/usr/share/fish/vendor_completions.d",
        ]
    );
    for (path, (_, attributes)) in &files {
        let is_executable = folders.contains(path) || *path == "/usr/bin/kinject";
        let mode = if is_executable { 0o755 } else { 0o644 };
        assert_eq!(*attributes, of_root(mode), "{path}");
    }
    assert_eq!(files.len(), 4 + folders.len(), "{listed}");
}
