//! Tests that cannot run on this machine are noted, and fail in CI.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;

/// Names the file that collects a line `WHAT: WHY` for everything that did not run.
pub const SKIPS: &str = "KINJECT_TEST_SKIPS";

/// Notes that `what` did not run. With `CI=true` this is a failure: CI has everything installed.
pub fn not_run(what: &str, why: &str) {
    let line = format!("{what}: {why}");
    assert!(
        env::var_os("CI").is_none_or(|ci| ci != "true"),
        "not run, which CI does not allow: {line}"
    );
    eprintln!("not run: {line}");
    let Some(file) = env::var_os(SKIPS) else { return };
    // One line for many tests. Two that write at the same moment write it twice, and no harm is done.
    let noted = fs::read_to_string(&file).unwrap_or_default();
    if noted.lines().any(|noted| noted == line) {
        return;
    }
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&file)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    if let Err(error) = written {
        panic!(
            "cannot note in {} that something did not run: {error}",
            file.display()
        );
    }
}
