//! `cargo xtask test`: all tests, with everything that they need around them.
//!
//! First everything is built, while the real [`cluster`] is built and comes up beside it. Then one `cargo test` runs all
//! suites; [`suites`] reads along. At the end [`summary`] says what passed, what failed, and what could not run here.

mod cluster;
mod output;
mod suites;
mod summary;

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tempfile::TempDir;

use self::cluster::Cluster;
use self::suites::{Executables, Suites};
use self::summary::Summary;
use crate::{cargo, hint, workspace};

/// Run all tests: unit tests, C programs, and end to end in the sandbox and on a real Kubernetes
///
/// The real Kubernetes needs root and Go. It is started unless it is up, and stopped again if it was not. What cannot
/// run on this machine is named at the end, and is a failure with CI=true.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave the real Kubernetes alone
    #[arg(long)]
    no_cluster: bool,
    /// Arguments for `cargo test`: a part of the names of tests, or `--package NAME`
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Names the file in which tests note what could not run, a line `WHAT: WHY` each.
const SKIPS: &str = "KINJECT_TEST_SKIPS";

/// What the tests on the cluster are called in such a line.
const ON_CLUSTER: &str = "tests on the real cluster";

/// Set inside of a session.
const SESSION: &str = "KINJECT_SOCKET";

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    if env::var_os(SESSION).is_some() {
        return Err(hint::error(
            "tests cannot run inside a session of kinject",
            "leave it with `exit` first",
        ));
    }
    let started = Instant::now();
    let interrupted = watch_for_signals()?;
    let folder = private_folder()?;
    let skips = folder.path().join("skips");

    let mut summary = Summary::default();
    let cluster = match args.no_cluster {
        true => Err("left alone, as --no-cluster says".to_owned()),
        false => Cluster::begin(folder.path())?,
    };
    if let Err(why) = &cluster {
        summary.not_run(ON_CLUSTER, why);
    }
    let tested = build_and_test(
        &args.rest,
        &skips,
        cluster.as_ref().ok(),
        &interrupted,
        &mut summary,
    );
    if let Ok(cluster) = cluster {
        cluster.end()?;
    }
    tested?;
    if interrupted.load(Ordering::Relaxed) {
        summary.fail("interrupted");
    }
    summary.read_skips(&skips, ON_CLUSTER)?;
    print!("{}", summary.text(started.elapsed()));
    let strict = env::var_os("CI").is_some_and(|ci| ci == "true");
    Ok(if summary.is_good(strict) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn build_and_test(
    rest: &[String],
    skips: &Path,
    cluster: Option<&Cluster>,
    interrupted: &AtomicBool,
    summary: &mut Summary,
) -> Result<()> {
    let executables = build()?;
    if let Some(cluster) = cluster
        && !cluster.is_up()?
    {
        summary.fail("the real cluster did not come up: see the lines with `cluster |` above");
    }
    if !interrupted.load(Ordering::Relaxed) {
        summary.add(test(rest, skips, executables)?);
    }
    Ok(())
}

/// A signal ends what runs at that moment; this program goes on to take down what it started. A second one ends it.
fn watch_for_signals() -> Result<Arc<AtomicBool>> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&asked))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&asked)))
            .context("watching for signals")?;
    }
    Ok(asked)
}

fn private_folder() -> Result<TempDir> {
    let target = workspace::target();
    fs::create_dir_all(&target).with_context(|| format!("making {}", target.display()))?;
    tempfile::Builder::new()
        .prefix("test-")
        .tempdir_in(&target)
        .with_context(|| format!("making a folder in {}", target.display()))
}

/// Builds all programs and tests at once, as `cargo test` wants them, and returns which file is whose test.
fn build() -> Result<Executables> {
    let mut cargo = cargo::command();
    cargo
        .args(["build", "--workspace", "--all-targets"])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = cargo.spawn().context("cannot start cargo")?;
    let messages = child.stdout.take().context("cargo has no standard output")?;
    let executables = Executables::read(BufReader::new(messages), workspace::root())?;
    let status = child.wait()?;
    if !status.success() {
        return Err(hint::error(
            "the workspace cannot be built",
            "see above; a C compiler is needed besides Rust, on Debian: apt-get install build-essential",
        ));
    }
    Ok(executables)
}

/// Runs `cargo test`, shows its output as it comes and reads along.
fn test(rest: &[String], skips: &Path, executables: Executables) -> Result<Suites> {
    let (reader, writer) = io::pipe()?;
    let mut cargo = cargo::command();
    cargo.args(["test", "--no-fail-fast", "--color"]);
    cargo.arg(if io::stdout().is_terminal() {
        "always"
    } else {
        "never"
    });
    if !rest
        .iter()
        .any(|word| word == "-p" || word.starts_with("--package"))
    {
        cargo.arg("--workspace");
    }
    cargo
        .args(rest)
        .env(SKIPS, skips)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = cargo.spawn().context("cannot start cargo")?;
    // it holds this process's copies of the pipe's other end
    drop(cargo);
    let mut suites = Suites::new(executables);
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        output::show(&line);
        suites.line(&String::from_utf8_lossy(&line), Instant::now());
        line.clear();
    }
    let status = child.wait()?;
    suites.end((!status.success()).then(|| status.to_string()));
    Ok(suites)
}
