//! Builds the programs that need a compiler, and finds the others.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use kinject_tests::packages::{Npm, Python, succeed};
use kinject_tests::programs::{Program, find};
use kinject_tests::proofs;

use crate::runtimes::{Invocation, Runtime};

/// A runtime on this machine.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    pub(crate) runtime: &'a Runtime,
    /// The program with its version, or why it is missing.
    pub(crate) program: Result<(Program, String), String>,
}

/// All of them.
pub(crate) fn all<'a>(runtimes: &[&'a Runtime]) -> Result<Vec<Prepared<'a>>> {
    let packages: Vec<&str> = runtimes
        .iter()
        .filter_map(|runtime| match runtime.invocation {
            Invocation::Python(package) if !package.is_empty() => Some(package),
            Invocation::DotNet => Some(DOTNET),
            _ => None,
        })
        .collect();
    let scripts: Vec<&str> = runtimes
        .iter()
        .filter_map(|runtime| match runtime.invocation {
            Invocation::Npm(package, _) => Some(package),
            _ => None,
        })
        .collect();
    fs::create_dir_all(proofs::folder())?;
    let python = Python::with(&packages)?;
    let npm = Npm::with(&scripts);
    let prepare = |runtime: &&'a Runtime| Prepared {
        runtime,
        program: one(runtime, &python, &npm),
    };
    Ok(runtimes.iter().map(prepare).collect())
}

/// The package of PyPI that carries .NET's run time.
const DOTNET: &str = "dotnetcore2";

fn one(runtime: &Runtime, python: &Python, npm: &Npm) -> Result<(Program, String), String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("matrix")
        .join(runtime.file);
    match runtime.invocation {
        Invocation::Script(interpreter, version) => {
            Ok((Program::new(here(interpreter)?).arg(file), output(version)))
        }
        Invocation::Client(name) => {
            here(name)?;
            let version = output(&format!("{name} {} 2>&1", version_flag(name)));
            Ok((Program::new("/bin/sh").arg(file), version))
        }
        Invocation::Python(package) => {
            // -B: nothing is written beside the source
            let program = Program::new(python.program()).args(["-EuB"]).arg(file);
            let version = match package {
                "" => output(&format!("{} --version", python.program().display())),
                package => python.version(package).unwrap_or_default(),
            };
            Ok((program, version))
        }
        Invocation::Java => {
            let classes = proofs::folder().join("java");
            let program = java(&file, &classes, OsString::new())?;
            Ok((program, output("java --version")))
        }
        Invocation::Maven(first) => {
            let folder = file.parent().unwrap_or(&file);
            let classes = proofs::folder().join("netty");
            let list = proofs::folder().join("netty.classpath");
            let mut maven = Command::new(here("mvn")?);
            maven.current_dir(folder).args(["--quiet", "--batch-mode"]);
            maven.arg("dependency:build-classpath");
            let mut output = OsString::from("-Dmdep.outputFile=");
            output.push(&list);
            build(maven.arg(output))?;
            let libraries = fs::read_to_string(&list).map_err(|error| format!("not built: {error}"))?;
            let version = libraries.split(['/', ':']).find_map(|part| {
                let rest = part.strip_prefix("netty-common-")?;
                rest.strip_suffix(".jar")
            });
            let version = version.unwrap_or_default().to_owned();
            Ok((java(&file, &classes, libraries.into())?.arg(first), version))
        }
        Invocation::DotNet => {
            let built = proofs::folder().join(runtime.file).with_extension("exe");
            let configuration = proofs::folder().join("dotnet.runtimeconfig.json");
            let mut output = OsString::from("-out:");
            output.push(&built);
            build(
                Command::new(here("mcs")?)
                    .arg("-r:System.Net.Http.dll")
                    .arg(output)
                    .arg(file),
            )?;
            fs::write(&configuration, RUNTIME_CONFIGURATION)
                .map_err(|error| format!("not built: {error}"))?;
            let run_time = python
                .folder_of(DOTNET)
                .ok_or("not installed: .NET")?
                .join("bin/dotnet");
            let program = Program::new(run_time).args(["exec", "--runtimeconfig"]);
            let version = python.version(DOTNET).unwrap_or_default();
            Ok((program.arg(configuration).arg(built), version))
        }
        Invocation::Npm(package, arguments) => {
            let program = npm.program(package)?;
            let version = output(&format!("'{}' --version", program.display()));
            Ok((
                Program::new(program).args(arguments.iter().copied()).arg(file),
                version,
            ))
        }
        Invocation::Cpp => {
            let built = proofs::folder().join("asio");
            build(
                Command::new(here("g++")?)
                    .args(["-O1", "-pthread", "-o"])
                    .arg(&built)
                    .arg(file),
            )?;
            let header = "#include <boost/version.hpp>\\nBOOST_LIB_VERSION\\n";
            Ok((
                Program::new(built),
                output(&format!("printf '{header}' | g++ -E -P -x c++ - | tail -n 1")),
            ))
        }
        Invocation::Go(what, tag) => {
            let built = proofs::folder().join(format!("go-client-{tag}"));
            let mut go = Command::new(here("go")?);
            go.current_dir(file).env("CGO_ENABLED", "1").args(["build", "-o"]);
            // linked by a C compiler, so that it depends on libc even if no package needs that
            build(
                go.arg(&built)
                    .args(["-ldflags", "-linkmode=external", "-tags", tag, "."]),
            )?;
            Ok((Program::new(built).arg(what), output("go version")))
        }
        Invocation::Rust => {
            let target = proofs::folder().join("reqwest");
            let mut cargo = Command::new(here("cargo")?);
            cargo
                .current_dir(&file)
                .args(["build", "--quiet", "--locked", "--target-dir"]);
            build(cargo.arg(&target))?;
            Ok((
                Program::new(target.join("debug/matrix-reqwest")),
                output(&format!(
                    "sed -n '/name = \"reqwest\"/{{n;s/version = //p}}' '{}' | tr -d '\"'",
                    file.join("Cargo.lock").display()
                )),
            ))
        }
    }
}

/// The version of the framework is that of the package, and the words of errors need no library of locales.
const RUNTIME_CONFIGURATION: &str = r#"{
  "runtimeOptions": {
    "framework": { "name": "Microsoft.NETCore.App", "version": "3.1.0" },
    "configProperties": { "System.Globalization.Invariant": true }
  }
}
"#;

/// Compiles a class, and runs it with these libraries.
fn java(file: &Path, classes: &Path, libraries: OsString) -> Result<Program, String> {
    let (java, javac) = (here("java")?, here("javac")?);
    let mut path = classes.as_os_str().to_owned();
    if !libraries.is_empty() {
        path.push(":");
        path.push(libraries);
    }
    let mut compile = Command::new(javac);
    compile.arg("-d").arg(classes).arg("-cp").arg(&path);
    build(compile.arg(file))?;
    // it starts faster so
    let flags = [
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Xshare:auto",
        "-cp",
    ];
    let class = file.file_stem().unwrap_or_default();
    Ok(Program::new(java).args(flags).arg(path).arg(class))
}

fn here(name: &str) -> Result<PathBuf, String> {
    find(name).ok_or_else(|| format!("not installed: {name}"))
}

fn build(command: &mut Command) -> Result<(), String> {
    succeed(command).map_err(|error| format!("not built: {error:#}"))
}

fn version_flag(client: &str) -> &'static str {
    match client {
        "ssh" => "-V",
        "dig" => "-v",
        _ => "--version",
    }
}

/// The version in the first line of a shell command's output.
fn output(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output();
    let text = output.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    version(text.lines().next().unwrap_or_default()).to_owned()
}

/// The first word with a number and a dot in it, from the number on.
fn version(line: &str) -> &str {
    let words = line
        .split_whitespace()
        .map(|word| word.trim_start_matches(|c: char| !c.is_ascii_digit()));
    let mut versions = words.filter(|word| word.contains(['.', '_']));
    versions
        .next()
        .unwrap_or_default()
        .trim_end_matches(['"', ',', ')'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_parsed_from_program_output() {
        assert_eq!(version("go version go1.26.8 linux/amd64"), "1.26.8");
        assert_eq!(version("OpenSSH_9.2p1 Debian-2, OpenSSL 3.0.22"), "9.2p1");
        assert_eq!(version("psql (PostgreSQL) 15.18 (Debian)"), "15.18");
        assert_eq!(version("\"1_74\""), "1_74");
        assert_eq!(version("nothing"), "");
    }
}
