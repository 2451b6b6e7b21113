//! `cargo xtask abandoned`: sessions on the real cluster whose relay and launcher are killed, or whose machine is cut off
//! from the network.
//!
//! Nobody is left to remove what they made, so the cluster has to, and its time limits take minutes. The test is an
//! ignored one: this subcommand runs it and shows its output.

use std::process::ExitCode;

use anyhow::Result;

use crate::{agent, cargo, dist, process};

/// Check that abandoned sessions leave nothing in the real cluster; takes some three minutes
///
/// The cluster has to be up: run `cargo xtask cluster up` first. Needs root.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs the subcommand.
pub(crate) fn run(_args: &Args) -> Result<ExitCode> {
    agent::pack_for_tests()?;
    dist::debug()?;
    let mut tests = cargo::command();
    tests
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
        .args(["--", "--ignored", "--nocapture"]);
    process::visible(&mut tests)?;
    Ok(ExitCode::SUCCESS)
}
