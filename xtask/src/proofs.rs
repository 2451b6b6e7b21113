//! `cargo xtask matrix`, `cargo xtask suites` and `cargo xtask programs`: the long-running comparisons.
//!
//! They share sandbox, cluster and session with the tests, and so are programs of the tests' package: this module
//! builds everything and executes one of them.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::cargo;

/// What the program behind the subcommand understands
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Arguments, which --help describes
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// Runs one of them, `matrix`, `suites` or `programs`.
pub(crate) fn run(program: &str, args: &Args) -> Result<ExitCode> {
    let programs = cargo::build_programs()?;
    let error = Command::new(programs.join(program))
        .args(&args.rest)
        .stdin(Stdio::null())
        .exec();
    Err(error).with_context(|| format!("cannot start {program}"))
}
