//! `cargo xtask rounds`: programs that race, start others and are cancelled, thousands of times and under valgrind.
//!
//! They are ignored tests: this subcommand runs them and shows their output.

use std::process::ExitCode;

use anyhow::Result;

use crate::{cargo, process};

/// The packages and test executables that have such tests, in modules and functions of this name.
const SUITES: [[&str; 2]; 2] = [["kinject-preload", "injected"], ["kinject-tests", "behaviour"]];
const NAME: &str = "rounds";

/// Repeat what goes wrong once in thousands of calls, and look at it with valgrind
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each program runs
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    count: usize,
}

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    cargo::build_programs()?;
    for [package, suite] in SUITES {
        let mut tests = cargo::command();
        tests.env("KINJECT_TEST_ROUNDS", args.count.to_string());
        tests.args(["test", "--quiet", "--package", package, "--test", suite, NAME]);
        // one after the other: each of them uses all processors
        tests.args(["--", "--ignored", "--nocapture", "--test-threads=1"]);
        process::visible(&mut tests)?;
    }
    Ok(ExitCode::SUCCESS)
}
