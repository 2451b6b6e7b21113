//! `cargo xtask test`: all tests, with everything that they need around them.
//!
//! First everything is built, with the agent that sessions carry, while the real [`cluster`] is built and comes up
//! beside it. Then the test [`executables`] run one after the other, those of the contract on the cluster twice: with
//! the agent's image and with carried agents. Last come the examples in the documentation ([`suites`]). At the end
//! [`summary`] says what passed, what failed, and what could not run here.

mod cluster;
mod executables;
mod output;
mod suites;
mod summary;

use std::env;
use std::fs;
use std::io::BufReader;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tempfile::TempDir;

use self::cluster::Cluster;
use self::executables::Executable;
use self::suites::Suites;
use self::summary::Summary;
use crate::{agent, cargo, hint, workspace};

/// Run all tests: unit tests, C programs, and end to end in the sandbox and on a real Kubernetes
///
/// The real Kubernetes needs root and Go. It is started unless it is up, and stopped again if it was not. What cannot
/// run on this machine is named at the end, and is a failure with CI=true.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave the real Kubernetes alone
    #[arg(long)]
    no_cluster: bool,
    /// Run the tests of this package only, without the examples in its documentation; may be given several times
    #[arg(short, long = "package", value_name = "NAME")]
    packages: Vec<String>,
    /// Run only tests whose names contain this, and after `--` arguments for each test executable
    #[arg(value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

/// Names the file in which tests note what could not run, a line `WHAT: WHY` each.
const SKIPS: &str = "KINJECT_TEST_SKIPS";

/// What the tests on the cluster are called in such a line.
const ON_CLUSTER: &str = "tests on the real cluster";

/// The package whose tests carry the agent.
const CARRYING: &str = "kinject-tests";

/// The suite that runs once more on the cluster with sessions that carry their agent.
const CONTRACT: &str = "tests: contract";

/// The suites whose tests mostly wait for the real cluster, so that more of them can run at once than there are
/// processors.
const WAITING: [&str; 5] = [
    CONTRACT,
    "tests: carried",
    "tests: edit_role",
    "tests: lifecycle",
    "tests: workload",
];

/// How many tests of these suites run at once for each processor.
const WAITING_PER_PROCESSOR: usize = 2;

/// The variable of Rust's test harness for the number of tests that run at once.
const TEST_THREADS: &str = "RUST_TEST_THREADS";

/// The variable that has tests' sessions do so, with its value.
const CARRIED: (&str, &str) = ("KINJECT_TEST_AGENT", "carried");

/// What the names of tests on the cluster end with, where a test runs on both testbeds.
const ON_CLUSTER_NAME: &str = "on_the_cluster";

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
    let tested = build_and_test(&args, &skips, cluster.as_ref().ok(), &interrupted, &mut summary);
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
    args: &Args,
    skips: &Path,
    cluster: Option<&Cluster>,
    interrupted: &AtomicBool,
    summary: &mut Summary,
) -> Result<()> {
    // before the one executable, which holds it; one that is older than its sources would be tested in its place
    if let Err(error) = pack_agent(args) {
        summary.fail(&format!(
            "the agent that sessions carry cannot be packed: {error:#}"
        ));
    }
    crate::dist::debug()?;
    let executables = build()?;
    if let Some(cluster) = cluster
        && !cluster.is_up()?
    {
        summary.fail("the real cluster did not come up: see the lines with `cluster |` above");
    }
    summary.add(&test(args, skips, &executables, interrupted)?);
    Ok(())
}

/// Packs the agent, unless only tests of packages are asked for that do without it.
fn pack_agent(args: &Args) -> Result<()> {
    match args.packages.is_empty() || args.packages.iter().any(|package| package == CARRYING) {
        true => agent::pack_for_tests(),
        false => Ok(()),
    }
}

/// A signal ends the test that runs at that moment; this program goes on to stop what it started. A second one ends it.
fn watch_for_signals() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&interrupted))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupted)))
            .context("watching for signals")?;
    }
    Ok(interrupted)
}

fn private_folder() -> Result<TempDir> {
    let target = workspace::target();
    fs::create_dir_all(&target).with_context(|| format!("making {}", target.display()))?;
    tempfile::Builder::new()
        .prefix("test-")
        .tempdir_in(&target)
        .with_context(|| format!("making a folder in {}", target.display()))
}

/// Builds all programs and tests at once, and returns the test executables.
fn build() -> Result<Vec<Executable>> {
    let mut cargo = cargo::command();
    cargo
        .args(["build", "--workspace", "--all-targets"])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = cargo.spawn().context("cannot start cargo")?;
    let messages = child.stdout.take().context("cargo has no standard output")?;
    let executables = executables::read(BufReader::new(messages), workspace::root());
    let status = child.wait()?;
    if !status.success() {
        return Err(hint::error(
            "the workspace cannot be built",
            "see above; a C compiler is needed besides Rust, on Debian: apt-get install build-essential",
        ));
    }
    executables
}

/// Runs a suite's tests on the cluster with carried agents in the place of the agent's image.
fn run_carried(
    suites: &mut Suites,
    executable: &Executable,
    arguments: &[String],
    variables: &[(&str, &str)],
) -> Result<()> {
    let carried = Executable {
        suite: format!("{}, carried agent", executable.suite),
        ..executable.clone()
    };
    let all = [ON_CLUSTER_NAME.to_owned()];
    let arguments = if arguments.is_empty() { &all } else { arguments };
    suites.run(&carried, arguments, &[variables, &[CARRIED]].concat())
}

/// How many tests of a suite run at once, where it is not as many as there are processors and the user does not choose.
fn threads(suite: &str) -> Option<String> {
    let is_chosen = env::var_os(TEST_THREADS).is_some();
    let processors = thread::available_parallelism().ok()?.get();
    (WAITING.contains(&suite) && !is_chosen).then(|| (processors * WAITING_PER_PROCESSOR).to_string())
}

/// Runs the tests that were asked for, and shows their output as it comes.
fn test(args: &Args, skips: &Path, executables: &[Executable], interrupted: &AtomicBool) -> Result<Suites> {
    let skips = skips.to_str().context("the target folder's path is not UTF-8")?;
    let is_wanted = |package: &String| args.packages.is_empty() || args.packages.contains(package);
    if let Some(unknown) = args.packages.iter().find(|package| {
        !executables
            .iter()
            .any(|executable| executable.package == **package)
    }) {
        return Err(hint::error(
            format!("no package with tests is called {unknown}"),
            "`cargo tree --workspace --depth 0` lists the packages",
        ));
    }
    let mut suites = Suites::default();
    for executable in executables
        .iter()
        .filter(|executable| is_wanted(&executable.package))
    {
        if interrupted.load(Ordering::Relaxed) {
            return Ok(suites);
        }
        let threads = threads(&executable.suite);
        let mut variables = vec![(SKIPS, skips)];
        variables.extend(threads.as_deref().map(|threads| (TEST_THREADS, threads)));
        suites.run(executable, &args.arguments, &variables)?;
        if executable.suite == CONTRACT && !interrupted.load(Ordering::Relaxed) {
            run_carried(&mut suites, executable, &args.arguments, &variables)?;
        }
    }
    if args.packages.is_empty() && !interrupted.load(Ordering::Relaxed) {
        let mut cargo = cargo::command();
        cargo
            .args(["test", "--quiet", "--workspace", "--doc", "--no-fail-fast", "--"])
            .args(&args.arguments);
        suites.run_documentation(cargo, &[(SKIPS, skips)])?;
    }
    Ok(suites)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_that_wait_for_the_cluster_exist_by_these_names() {
        for suite in WAITING {
            let (package, test) = suite.split_once(": ").unwrap();
            let main = workspace::root()
                .join(package)
                .join("tests")
                .join(test)
                .join("main.rs");
            assert!(main.is_file(), "{} is missing", main.display());
        }
    }
}
