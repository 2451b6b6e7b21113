//! Calls about a workload's files whose number or order matters: what is done twice or left open, and what libc itself
//! decides.

use crate::container_files::library_of_libc;
use crate::program::{Program, compiled};
use crate::relay::Relay;
use crate::remote_files::remote;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

/// A program in a session with these paths below the root, and no relay.
fn session(root: &TempDir, entries: &str, program: &str, args: &[&str]) -> Program {
    let root = root.path().canonicalize().unwrap();
    Program::with_socket(Path::new("/nonexistent/control"), program, args)
        .env("KINJECT_PATHS", format!("{}:{entries}", root.display()))
}

#[test]
fn stream_of_a_file_that_the_machine_has_as_well_leaves_nothing_open() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/passwd"), "shadow\n").unwrap();
    let program = session(&root, "m/etc", "container_calls", &["streams", "/etc/passwd"]);
    assert_eq!(program.output(), "shadow\n0 left open\n");
}

/// A process that closes any descriptor of a file loses its locks of it (fcntl(2)).
#[test]
fn lock_is_kept_when_the_program_opens_the_file_again_by_a_relative_path() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("srv/cache")).unwrap();
    let args = ["lock", "/srv/cache", "file"];
    let program = session(&root, "s/srv/cache:r/srv/data", "container_calls", &args);
    assert_eq!(program.output(), "locked\n");
}

#[test]
fn glob_as_the_first_call_of_a_session_without_a_workload_is_libcs_own() {
    let args = ["glob", "/nonexistent/*"];
    let relay = Relay::start();
    let output = Program::injected(&relay, "container_calls", &args).output();
    assert_eq!(output, Program::bare("container_calls", &args).output());
    assert!(output.contains("ENOENT, libc opens\n"), "{output}");
}

#[test]
fn glob_without_results_fails_as_in_libc() {
    let root = tempfile::tempdir().unwrap();
    let args = ["glob", "/nonexistent/*"];
    let output = session(&root, "m/srv/config", "container_calls", &args).output();
    assert!(output.contains("ENOENT, another opens\n"), "{output}");
    assert!(output.ends_with("without results: -1, EINVAL\n"), "{output}");
}

#[test]
fn library_named_by_its_origin_is_searched_beside_the_program() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("srv/cache")).unwrap();
    let name = format!("origin-{}.so", std::process::id());
    let library = compiled("open_library").with_file_name(&name);
    fs::copy(library_of_libc(), &library).unwrap();
    let path = format!("$ORIGIN/{name}");
    let output = session(&root, "s/srv/cache", "open_library", &[&path])
        .under("sh", &["-c", "cd /srv/cache && exec \"$0\" \"$1\""])
        .output();
    fs::remove_file(library).unwrap();
    assert_eq!(output, "dlopen: opened\ndlmopen: opened\nprogram: opened\n");
}

#[test]
fn folder_that_cannot_be_read_does_not_end_the_walk_of_a_remote_tree() {
    let relay = Relay::start();
    let (container, root) = remote(&relay);
    let locked = container.path().join("srv/data/locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, Permissions::from_mode(0o000)).unwrap();
    let paths = format!("{}:r/srv/data", root.path().canonicalize().unwrap().display());
    let output = Program::injected(&relay, "container_calls", &["walk", "/srv/data"])
        .env("KINJECT_PATHS", paths)
        .output();
    fs::set_permissions(&locked, Permissions::from_mode(0o700)).unwrap();
    let mut lines: Vec<_> = output.lines().collect();
    lines.sort_unstable();
    let expected = [
        "/srv/data",
        "/srv/data/file",
        "/srv/data/link",
        "/srv/data/locked",
        "/srv/data/sub",
        "/srv/data/sub/deep",
        "/srv/data/sub/deep/below",
        "nftw: 0",
    ];
    assert_eq!(lines, expected);
}
