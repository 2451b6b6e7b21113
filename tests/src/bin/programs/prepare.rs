//! Builds the programs that need a compiler, and finds the others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use kinject_tests::packages::{Npm, Python, succeed};
use kinject_tests::programs::{self, Program, find};
use kinject_tests::proofs;

use crate::rows::{Folder, Invocation, Row};

/// A row on this machine.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) row: &'static Row,
    /// How it is started, or why it is missing.
    pub(crate) program: Result<Start, String>,
}

/// How a program is started.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) program: Program,
    /// Variables that it needs.
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) version: String,
}

/// All of them.
pub(crate) fn all(rows: &[&'static Row]) -> Result<Vec<Prepared>> {
    fs::create_dir_all(proofs::folder())?;
    let prepare = |row: &&'static Row| Prepared {
        row,
        program: one(row).map_err(|error| format!("{error:#}")),
    };
    Ok(rows.iter().map(prepare).collect())
}

fn one(row: &Row) -> Result<Start> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("stand_in")
        .join(row.file);
    let mut variables = Vec::new();
    let (program, version) = match row.invocation {
        Invocation::Shell(version) => (Program::new("/bin/sh").arg(file), output(version)),
        Invocation::Python(package) => {
            // one by one: pip takes minutes to choose versions that suit many packages
            let packages: &[&str] = match package {
                "" => &[],
                "google-auth" => &["requests", "google-auth"],
                package => &[package],
            };
            let mut python = Python::with(&[])?;
            for package in packages {
                python = Python::with(&[package])?;
            }
            let version = match package {
                "" => output(&format!("'{}' --version", python.program().display())),
                package => python.version(package).unwrap_or_default(),
            };
            (
                Program::new(python.program()).args(["-B", "-u"]).arg(file),
                version,
            )
        }
        Invocation::Node(package) => {
            let mut version = output("node --version");
            if !package.is_empty() {
                let modules = Npm::library(package)?;
                version = package.rsplit('@').next().unwrap_or_default().to_owned();
                variables.push(("NODE_PATH".to_owned(), modules.display().to_string()));
            }
            (Program::new(here("node")?).arg(file), version)
        }
        Invocation::CPython(module, folder) => {
            variables.push(("HOME".to_owned(), "/tmp".to_owned()));
            let interpreter = programs::interpreter();
            let folder = match folder {
                Folder::EmptyDir => ".",
                Folder::Machine => "/tmp",
            };
            let version = output(&format!("'{}' --version", interpreter.display()));
            (
                Program::new(interpreter)
                    .args(["-B", "-u"])
                    .arg(file)
                    .args([module, folder]),
                version,
            )
        }
        Invocation::Java => (java(&file, "")?, output("java --version")),
        Invocation::Maven => {
            let list = proofs::folder().join("clients.classpath");
            let mut maven = Command::new(here("mvn")?);
            maven.current_dir(file.parent().unwrap_or(&file));
            maven.args(["--quiet", "--batch-mode", "dependency:copy-dependencies"]);
            // not in the home folder, which the container does not have
            maven.arg(format!("-DoutputDirectory={}", list.display()));
            succeed(&mut maven)?;
            let libraries: Vec<_> = fs::read_dir(&list)?.flatten().map(|entry| entry.path()).collect();
            let version = libraries.iter().find_map(|path| {
                let name = path.file_stem()?.to_str()?;
                Some(name.strip_prefix("kubernetes-client-")?.to_owned())
            });
            let version = version.filter(|version| version.starts_with(|c: char| c.is_ascii_digit()));
            (
                java(&file, &format!("{}/*", list.display()))?,
                version.unwrap_or_default(),
            )
        }
        Invocation::Go => {
            let built = proofs::folder().join(format!("go-{}", row.file));
            let mut go = Command::new(here("go")?);
            go.current_dir(&file)
                .env("CGO_ENABLED", "1")
                .args(["build", "-o"])
                .arg(&built);
            // linked by a C compiler, so that it depends on libc even if no package needs that
            succeed(go.args(["-ldflags", "-linkmode=external", "."]))?;
            let line = format!(
                "go list -C '{}' -m -f '{{{{.Version}}}}' k8s.io/client-go",
                file.display()
            );
            (Program::new(built), output(&line))
        }
    };
    Ok(Start {
        program,
        variables,
        version,
    })
}

/// Compiles a class, and runs it with these libraries.
fn java(file: &Path, libraries: &str) -> Result<Program> {
    let classes = proofs::folder().join("java");
    let path = format!("{}:{libraries}", classes.display());
    let mut compile = Command::new(here("javac")?);
    compile.arg("-d").arg(&classes).args(["-cp", &path]);
    succeed(compile.arg(file))?;
    // it starts faster so
    let flags = [
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Xshare:auto",
        "-cp",
    ];
    let class = file.file_stem().unwrap_or_default();
    Ok(Program::new(here("java")?).args(flags).arg(path).arg(class))
}

fn here(name: &str) -> Result<PathBuf> {
    find(name).ok_or_else(|| anyhow::anyhow!("not installed: {name}"))
}

/// The version in the first line of a shell command's output.
fn output(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output();
    let text = output.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let words = text.lines().next().unwrap_or_default().split([' ', '/']);
    let mut versions = words.map(|word| word.trim_start_matches('v'));
    let is_version = |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    versions.find(is_version).unwrap_or_default().to_owned()
}
