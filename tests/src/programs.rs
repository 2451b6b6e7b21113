//! The programs that tests run: the test's own in Python and C, and what is installed.

use std::collections::HashMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::packages::Python;
use crate::{binaries, running, skip};

/// A program with its arguments.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its file.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl Program {
    /// A program of this machine.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
        }
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments.
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// The program as a command of its own.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        command
    }
}

/// Where the tests' own programs lie.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

/// A line for `sh`.
pub fn shell(line: &str) -> Program {
    Program::new("/bin/sh").args(["-c", line])
}

/// One of the tests' own Python programs.
pub fn python(name: &str) -> Program {
    let file = folder().join(name);
    assert!(file.is_file(), "there is no {}", file.display());
    // -S: without site packages it starts in half the time; -u: nothing stays in a buffer when it is killed
    Program::new(interpreter()).args(["-SEu"]).arg(file)
}

/// One of the tests' own Python programs that needs a module; `None`, and a note, where that is not installed.
pub fn python_with(module: &str, name: &str) -> Option<Program> {
    let import = format!("import {module}");
    // a distribution's packages are installed for its own Python
    let candidates = [interpreter(), Path::new("/usr/bin/python3")];
    let found = candidates.into_iter().find(|python| {
        let probed = Command::new(python).args(["-Ec", &import]).output();
        probed.is_ok_and(|output| output.status.success())
    });
    let Some(python) = found else {
        skip::not_run(&format!("tests with {module} of Python"), "it is not installed");
        return None;
    };
    Some(Program::new(python).arg("-Eu").arg(folder().join(name)))
}

/// One of the tests' own Python programs that needs a package from PyPI, which is fetched where it is not there yet;
/// `None`, and a note, where it cannot be installed.
pub fn python_from_pypi(package: &str, name: &str) -> Option<Program> {
    // one environment, and so one installation at a time
    static ENVIRONMENT: Mutex<()> = Mutex::new(());
    let _alone = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    match Python::with(&[package]) {
        // -B: nothing is written beside the source
        Ok(python) => Some(
            Program::new(python.program())
                .arg("-EuB")
                .arg(folder().join(name)),
        ),
        Err(error) => {
            skip::not_run(&format!("tests with {package} of Python"), &format!("{error:#}"));
            None
        }
    }
}

/// Python itself rather than a wrapper that selects one of several versions.
pub fn interpreter() -> &'static Path {
    static INTERPRETER: OnceLock<PathBuf> = OnceLock::new();
    INTERPRETER.get_or_init(|| {
        let probed = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output();
        match probed {
            Ok(output) if output.status.success() => {
                PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
            }
            other => panic!("the tests need python3: {other:?}"),
        }
    })
}

/// One of the tests' own C programs, compiled.
pub fn c(name: &str) -> Program {
    compile(name, &[])
}

/// One of the C programs that the preloaded library is tested with, compiled.
pub fn libc_call(name: &str) -> Program {
    compile(&format!("../../c-tests/{name}"), &["-std=gnu11"])
}

/// One of the tests' own C programs, statically linked.
pub fn static_c(name: &str) -> Program {
    compile(name, &["-static"])
}

/// One of the tests' own C programs, built with these sanitizers.
pub fn sanitized_c(name: &str, flags: &[&str]) -> Program {
    compile(name, flags)
}

/// A library in C for the tests' own programs.
pub fn shared_c(name: &str) -> Program {
    compile(name, &["-shared", "-fPIC"])
}

/// One of the tests' own C programs, built by Clang with these flags, with its own runtime libraries found at run time;
/// `None`, and a note, where there is no Clang.
pub fn clang(name: &str, flags: &[&str]) -> Option<Program> {
    let compiler = ["clang", "clang-14"].into_iter().find_map(find);
    let Some(compiler) = compiler else {
        skip::not_run("tests with Clang's sanitizers", "there is no clang");
        return None;
    };
    let probed = Command::new(&compiler).arg("-print-runtime-dir").output();
    let path = probed.expect("it was just found").stdout;
    let rpath = format!("-Wl,-rpath,{}", String::from_utf8_lossy(&path).trim());
    let flags: Vec<_> = flags.iter().copied().chain([rpath.as_str()]).collect();
    Some(compile_by(&compiler, name, &flags))
}

fn compile(name: &str, flags: &[&str]) -> Program {
    compile_by(Path::new("cc"), name, flags)
}

fn compile_by(compiler: &Path, name: &str, flags: &[&str]) -> Program {
    static COMPILED: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let base = Path::new(name)
        .file_name()
        .map(OsStr::to_string_lossy)
        .unwrap_or_default();
    let by = compiler
        .file_name()
        .map(OsStr::to_string_lossy)
        .unwrap_or_default();
    // a flag may contain a path, and a shell takes a word with an equals sign for an assignment
    let key = format!("{base}{by}{}", flags.concat()).replace(['/', '='], "-");
    let mut compiled = COMPILED.lock().expect("no compilation panics while it is locked");
    let compiled = compiled.get_or_insert_default();
    if let Some(path) = compiled.get(&key) {
        return Program::new(path);
    }
    let folder_for_programs = binaries::folder().join("test-programs");
    fs::create_dir_all(&folder_for_programs).expect("the target folder can be written to");
    let path = folder_for_programs.join(&key);
    let fresh = path.with_extension(std::process::id().to_string());
    let source = folder().join(format!("{name}.c"));
    let output = Command::new(compiler)
        .args(["-O1", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-pthread"])
        .args(flags)
        .arg("-o")
        .args([&fresh, &source])
        .output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!(
            "{} does not compile:\n{}",
            source.display(),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("the tests need a C compiler: {error}"),
    }
    fs::rename(&fresh, &path).expect("it was just written");
    compiled.insert(key, path.clone());
    Program::new(path)
}

/// One of the tests' own Java programs, compiled; `None`, and a note, without a Java development kit.
pub fn java(name: &str) -> Option<Program> {
    static COMPILED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let (java, javac) = (installed("java")?, installed("javac")?);
    let classes = binaries::folder().join("test-programs/java");
    let mut compiled = COMPILED.lock().expect("no compilation panics while it is locked");
    if !compiled.iter().any(|compiled| compiled == name) {
        let source = folder().join(format!("{name}.java"));
        running::run(&mut javac.arg("-d").arg(&classes).arg(source).command()).succeeded();
        compiled.push(name.to_owned());
    }
    // it starts faster so
    let flags = [
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Xshare:auto",
        "-cp",
    ];
    Some(java.args(flags).arg(classes))
}

/// One of the tests' own Go programs, built with these settings (`go help environment`) and flags; `None`, and a note,
/// without Go.
pub fn go(name: &str, settings: &[(&str, &str)], flags: &[&str]) -> Option<Program> {
    // Go's build cache avoids repeated builds
    static ALONE: Mutex<()> = Mutex::new(());
    let go = installed("go")?;
    let words = settings.iter().flat_map(|(name, value)| [*name, *value]);
    let words = [name].into_iter().chain(words).chain(flags.iter().copied());
    let built = binaries::folder().join("test-programs").join(format!(
        "go-{}",
        words.collect::<Vec<_>>().join("-").replace(['/', ' '], "-")
    ));
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut build = go.command();
    build.arg("build").args(flags).arg("-o").arg(&built);
    build.arg(folder().join(format!("go/{name}.go")));
    build.env("GOFLAGS", "-mod=mod").env("GOTOOLCHAIN", "local");
    build.envs(settings.iter().copied());
    running::run_within(&mut build, Duration::from_secs(300)).succeeded();
    Some(Program::new(built))
}

/// A program that may be installed; where it is not, that is noted and `None` returned.
pub fn installed(name: &str) -> Option<Program> {
    let found = find(name);
    if found.is_none() {
        skip::not_run(&format!("tests with {name}"), "it is not installed");
    }
    found.map(Program::new)
}

/// Looks for a program in PATH.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
