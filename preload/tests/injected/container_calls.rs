//! Calls about a workload's files whose number or order matters: what is done twice or left open, and what libc itself
//! decides.

use crate::program::Program;
use std::fs;
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
