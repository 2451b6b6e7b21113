//! Builds and downloads the suites and what they need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use kinject_tests::packages::{Python, succeed};
use kinject_tests::programs::{self, Program, find};
use kinject_tests::proofs;

use crate::suites::{Runner, Suite};

/// The packages with suites, and what the suites need.
const PACKAGES: &[&str] = &[
    "pytest",
    "pytest-timeout",
    "gevent",
    "trio",
    "tornado",
    "uvloop",
    "psutil",
    "pyOpenSSL",
    "trustme",
];

/// Starts pytest as tornado's own runner starts its tests: without the lines that its server logs, which tests would
/// find unexpected.
const PYTEST: &str = "import logging, sys, pytest; \
    logging.getLogger('tornado.access').setLevel(logging.CRITICAL); sys.exit(pytest.main(sys.argv[1:]))";

/// How long one test may take under pytest.
const TEST_LIMIT: &str = "--timeout=60";

/// A suite on this machine.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) suite: &'static Suite,
    /// The command, or why it is missing.
    pub(crate) start: Result<Start, String>,
}

/// How a suite is started.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) program: Program,
    /// Where, if not in a folder of its own.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) version: String,
}

/// All of them.
pub(crate) fn all(suites: &[&'static Suite]) -> Result<Vec<Prepared>> {
    fs::create_dir_all(proofs::folder())?;
    let needs_packages = |suite: &&Suite| matches!(suite.runner, Runner::Pytest(..) | Runner::Source(_));
    let packages = if suites.iter().any(needs_packages) {
        PACKAGES
    } else {
        &[]
    };
    let python = Python::with(packages)?;
    let prepare = |suite: &&'static Suite| Prepared {
        suite,
        start: one(suite, &python).map_err(|error| format!("{error:#}")),
    };
    Ok(suites.iter().map(prepare).collect())
}

fn one(suite: &Suite, python: &Python) -> Result<Start> {
    match suite.runner {
        Runner::Regrtest(module, resource) => {
            let program = Program::new(programs::interpreter());
            let program = program.args(["-m", "test", "--timeout", "120", "-u", resource]);
            let version = output(Command::new(programs::interpreter()).arg("--version"))?;
            Ok(Start {
                program: program.arg(module),
                folder: None,
                version: version.trim_start_matches("Python ").to_owned(),
            })
        }
        Runner::Pytest(module, options) => {
            let package = module.split('.').next().unwrap_or(module);
            Ok(Start {
                program: pytest(python, suite)
                    .args(options.iter().copied())
                    .args(["--pyargs", module]),
                folder: None,
                version: version(python, package)?,
            })
        }
        Runner::Source(package) => {
            let version = version(python, package)?;
            Ok(Start {
                program: pytest(python, suite).arg(source(python, package, &version)?),
                folder: None,
                version,
            })
        }
        Runner::Go(package) => {
            let go = find("go").context("not installed: go")?;
            let built = proofs::folder().join(format!("go-{}.test", package.replace('/', "-")));
            let mut build = Command::new(&go);
            build.env("CGO_ENABLED", "1").args(["test", "-c", "-o"]);
            succeed(build.arg(&built).arg(package))?;
            let root = output(Command::new(&go).args(["env", "GOROOT"]))?;
            let version = output(Command::new(&go).args(["env", "GOVERSION"]))?;
            Ok(Start {
                // -short leaves out tests that connect to the internet
                program: Program::new(built).args(["-test.v", "-test.short"]),
                folder: Some(Path::new(&root).join("src").join(package)),
                version: version.trim_start_matches("go").to_owned(),
            })
        }
    }
}

fn pytest(python: &Python, suite: &Suite) -> Program {
    let program = Program::new(python.program()).args(["-B", "-c", PYTEST, "-q", TEST_LIMIT]);
    let program = program.args(["-p", "no:cacheprovider", "-p", "no:randomly"]);
    match suite.without {
        [] => program,
        names => program.args(["-k", &format!("not ({})", names.join(" or "))]),
    }
}

fn version(python: &Python, package: &str) -> Result<String> {
    let version = python.version(package);
    version.with_context(|| format!("{package} is not there"))
}

/// The folder `tests` of a package's source, without the rest: what is tested is the installed package.
fn source(python: &Python, package: &str, version: &str) -> Result<PathBuf> {
    let name = format!("{package}-{version}");
    let folder = proofs::folder().join("sources");
    let tests = folder.join(&name).join("tests");
    if tests.is_dir() {
        return Ok(tests);
    }
    fs::create_dir_all(&folder)?;
    let mut download = Command::new(python.program());
    download.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-binary",
        ":all:",
        "--no-deps",
        "--dest",
    ]);
    succeed(download.arg(&folder).arg(format!("{package}=={version}")))?;
    let mut unpack = Command::new("tar");
    unpack
        .arg("--directory")
        .arg(&folder)
        .arg("--extract")
        .arg("--file");
    succeed(
        unpack
            .arg(folder.join(format!("{name}.tar.gz")))
            .arg(format!("{name}/tests")),
    )?;
    Ok(tests)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().context("asking for a version")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
