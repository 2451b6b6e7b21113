//! `cargo xtask abandoned`: sessions on the real cluster whose relay and launcher are killed, or whose machine is cut off
//! from the network.
//!
//! Nobody is left to remove what they made, so the cluster has to, and its time limits take minutes. The test is an
//! ignored one: this subcommand runs it and shows its output.

use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};

use crate::{agent, cargo, dist, process};

/// The test, by which the harness knows it.
const TEST: &str = "cleanup::sessions_killed_and_cut_off_leave_nothing_in_the_namespace";

/// Check that abandoned sessions leave nothing in the real cluster; takes some three minutes
///
/// The cluster has to be up: run `cargo xtask cluster up` first. Needs root.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs the subcommand.
pub(crate) fn run(_args: &Args) -> Result<ExitCode> {
    agent::pack_for_tests()?;
    dist::debug()?;
    let listed = process::output(test().arg("--list"))?;
    ensure!(
        is_alone(&listed),
        "there is no ignored test {TEST} in the suite edit_role: {}",
        listed.trim()
    );
    process::visible(test().arg("--nocapture"))?;
    Ok(ExitCode::SUCCESS)
}

/// The harness with that test alone. It takes no test for a success, too.
fn test() -> Command {
    let mut test = cargo::command();
    test
        // a test that cannot run is a failure
        .env("CI", "true")
        .args([
            "test",
            "--quiet",
            "--package",
            "kinject-tests",
            "--test",
            "edit_role",
        ])
        .args(["--", "--ignored", "--exact", TEST]);
    test
}

/// Whether a list of tests has that one and no other.
fn is_alone(listed: &str) -> bool {
    let mut tests = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    tests.next() == Some(TEST) && tests.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_without_the_test_or_with_others_is_refused() {
        let line = format!("{TEST}: test\n");
        assert!(is_alone(&line));
        assert!(is_alone(&format!("{line}\n1 test, 0 benchmarks\n")));
        assert!(!is_alone("0 tests, 0 benchmarks\n"));
        assert!(!is_alone("cleanup::another: test\n"));
        assert!(!is_alone(&format!("{line}cleanup::another: test\n")));
    }
}
