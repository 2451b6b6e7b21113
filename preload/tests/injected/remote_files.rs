//! Files that are read through the tunnel: what a call asks of the relay, and what it finds then.

use crate::program::Program;
use crate::relay::{Relay, RemoteFiles};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;

/// A container's folder with a remote mount, and a session of a relay that fetches from it.
pub(crate) fn remote(relay: &Relay) -> (TempDir, TempDir) {
    let (container, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = container.path().join("srv/data");
    fs::create_dir_all(data.join("sub/deep")).unwrap();
    fs::write(data.join("file"), "remote\n").unwrap();
    fs::write(data.join("sub/deep/below"), "deep\n").unwrap();
    symlink("file", data.join("link")).unwrap();
    relay.set_remote_files(RemoteFiles {
        container: container.path().to_owned(),
        root: root.path().canonicalize().unwrap(),
    });
    (container, root)
}

fn remote_shell(relay: &Relay, root: &TempDir, entries: &str, command: &str) -> String {
    let paths = format!("{}:{entries}", root.path().canonicalize().unwrap().display());
    Program::injected(relay, "start", &[])
        .env("KINJECT_PATHS", paths)
        .under("sh", &["-c", command])
        .output()
}

#[test]
fn remote_file_is_fetched_as_far_as_a_call_needs_it() {
    const ENTRIES: &str = "r/srv/data";
    let relay = Relay::start();
    let (_container, root) = remote(&relay);
    let run = |command: &str| {
        let output = remote_shell(&relay, &root, ENTRIES, command);
        (output, relay.take_requests())
    };
    let (output, requests) = run("test -f /srv/data/file; echo $?");
    assert_eq!(output, "0\n");
    assert_eq!(requests, ["fetch Status /srv/data/file"]);
    let (output, requests) = run("cat /srv/data/file");
    assert_eq!(output, "remote\n");
    assert_eq!(requests.last().unwrap(), "fetch Content /srv/data/file");
    assert_eq!(run("cat /srv/data/link").0, "remote\n");
    assert_eq!(run("ls /srv/data").0, "file\nlink\nsub\n");
    assert_eq!(
        run("cd /srv/data && cat sub/deep/below && cat ./link").0,
        "deep\nremote\n"
    );
    assert_eq!(
        run("cat /srv/data/none 2>&1; echo $?").0,
        "cat: /srv/data/none: No such file or directory\n1\n"
    );
    // in a folder that was opened: each name has its status, and its content when it is opened
    let found = run("find /srv/data -type f | sort; grep -r . /srv/data/sub").0;
    assert_eq!(
        found,
        "/srv/data/file\n/srv/data/sub/deep/below\n/srv/data/sub/deep/below:deep\n"
    );
    let refused = run("echo x 2>&1 > /srv/data/file; mkdir /srv/data/new 2>&1; \
        mkdir /srv/data/sub 2>&1; rm -f /srv/data/file 2>&1; true");
    let refused = refused.0;
    assert_eq!(refused.matches("Read-only file system").count(), 3, "{refused}");
    assert_eq!(refused.matches("File exists").count(), 1, "{refused}");
}

#[test]
fn remote_glob_is_fetched_and_all_else_is_the_machines() {
    const ENTRIES: &str = "g/srv/data/*.yaml:g/usr/share/kinject-none/**";
    let relay = Relay::start();
    let (container, root) = remote(&relay);
    fs::write(container.path().join("srv/data/a.yaml"), "a: 1\n").unwrap();
    let output = remote_shell(
        &relay,
        &root,
        ENTRIES,
        "cat /srv/data/a.yaml; cat /srv/data/file 2>&1; ls -d /srv/data /usr/share; \
         cat /usr/share/kinject-none/a 2>&1; true",
    );
    let expected = "a: 1\ncat: /srv/data/file: No such file or directory\n/srv/data\n/usr/share\n\
        cat: /usr/share/kinject-none/a: No such file or directory\n";
    assert_eq!(output, expected);
}

#[test]
fn remote_file_without_a_relay_is_eio() {
    let root = tempfile::tempdir().unwrap();
    let paths = format!("{}:r/srv/data", root.path().canonicalize().unwrap().display());
    let program = Program::with_socket(Path::new("/nonexistent/control"), "start", &[]);
    let output = program
        .env("KINJECT_PATHS", paths)
        .under("sh", &["-c", "cat /srv/data/file 2>&1; true"])
        .output();
    assert_eq!(output, "cat: /srv/data/file: Input/output error\n");
}

#[test]
fn file_opened_by_its_descriptor_or_within_its_folder_has_its_content() {
    const WAYS: [&str; 8] = [
        "/proc/self/fd/",
        "/dev/fd/",
        "/proc/thread-self/fd/",
        "stream",
        "beneath",
        "in root",
        "around",
        "absolute",
    ];
    const REFUSED: &str =
        "above: EXDEV\nnew: EROFS\nnew in root: EROFS\nwritten: EROFS\nstream for writing: EROFS\n";
    // a pattern whose first component is one lets each path through the filter
    for (name, entries) in [
        ("file", "r/srv/data"),
        ("sub/deep/below", "r/srv/data"),
        ("file", "r/srv/data:g/*/kinject-none"),
    ] {
        let relay = Relay::start();
        let (_container, root) = remote(&relay);
        let paths = format!("{}:{entries}", root.path().canonicalize().unwrap().display());
        let content = if name == "file" { "remote" } else { "deep" };
        let output = Program::injected(&relay, "open_by_descriptor", &["/srv/data", name])
            .env("KINJECT_PATHS", &paths)
            .output();
        let read = WAYS.map(|way| format!("{way}: {content}\n")).concat();
        assert_eq!(output, format!("{read}{REFUSED}"), "{name} {entries}");
        // what stands there after the first way, the others find in any case
        let asked = format!("fetch Content /srv/data/{name}");
        let requests = relay.take_requests();
        let asked = requests.iter().filter(|request| **request == asked);
        assert_eq!(asked.count(), WAYS.len(), "{requests:?}");
        assert!(!root.path().join("srv/data/new").exists());
    }
}
