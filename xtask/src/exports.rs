//! Checks the preloaded library's exported symbols and dependencies.
//!
//! A library that needs a version of glibc which a machine does not have keeps every program of that machine from
//! starting; one that exports a name by accident replaces that function in every program; one that needs another
//! library makes every exec load it, and so does memory of its own. So all four are checked, against
//! `preload/exports.txt` and the numbers below.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::elf::Elf;
use crate::{cargo, hint, process, workspace};

/// The one list of the hooks.
const EXPORTS: &str = "preload/exports.txt";

/// Check which symbols the preloaded library exports and what it depends on
///
/// Builds the release library unless one is named.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Check this library instead
    library: Option<PathBuf>,

    /// Allow no newer version of glibc than this
    #[arg(long, value_name = "VERSION")]
    glibc: Option<Glibc>,
}

/// A version of glibc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Glibc(pub(crate) u32, pub(crate) u32);

/// The most pages of writable memory, which every exec pays for. A linker that does not align the segment to a page
/// takes one more.
const WRITABLE_PAGES: u64 = 2;

/// Before this version dlsym(3) was in a library of its own.
const ONE_LIBRARY: Glibc = Glibc(2, 34);

impl FromStr for Glibc {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (major, minor) = text.split_once('.').context("a version looks like 2.34")?;
        // 2.2.5 counts as 2.2
        let minor = minor.split('.').next().unwrap_or(minor);
        Ok(Self(major.parse()?, minor.parse()?))
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.0, self.1)
    }
}

/// Runs the subcommand.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let library = match args.library {
        Some(library) => library,
        None => build()?,
    };
    println!("{}", check(&library, args.glibc)?);
    Ok(ExitCode::SUCCESS)
}

fn build() -> Result<PathBuf> {
    process::visible(cargo::command().args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "kinject-preload",
        "--lib",
    ]))?;
    Ok(workspace::target().join("release/libkinject_preload.so"))
}

/// Checks a library; returns one line about it, or an error that names every fault.
pub(crate) fn check(library: &Path, limit: Option<Glibc>) -> Result<String> {
    let elf = Elf::read(library)?;
    let list = workspace::root().join(EXPORTS);
    let listed = std::fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
    let faults = faults(&elf, &listed.lines().collect(), limit);
    if faults.is_empty() {
        let glibc = newest_glibc(&elf).map_or("no version".to_owned(), |version| version.to_string());
        return Ok(format!(
            "{}: {} hooks, needs {} and glibc {glibc}",
            library.display(),
            elf.exported.len(),
            elf.needed.join(", "),
        ));
    }
    Err(hint::error(
        format!("{}: {}", library.display(), faults.join("; ")),
        format!("a new hook belongs into {EXPORTS}; a new version or library needs a way around it"),
    ))
}

/// Fails when a program needs a newer glibc than this.
pub(crate) fn check_program(program: &Path, limit: Glibc) -> Result<()> {
    let elf = Elf::read(program)?;
    match elf.required.iter().find(|name| version_of(name) > Some(limit)) {
        Some(name) => bail!("{} needs {name}, more than glibc {limit}", program.display()),
        None => Ok(()),
    }
}

fn faults(elf: &Elf, listed: &BTreeSet<&str>, limit: Option<Glibc>) -> Vec<String> {
    let mut faults = Vec::new();
    for name in &elf.exported {
        if !listed.contains(name.as_str()) {
            faults.push(format!("exports {name}, which is not listed"));
        }
    }
    for name in listed {
        if !elf.exported.contains(*name) {
            faults.push(format!("does not export {name}"));
        }
    }
    for library in &elf.needed {
        let is_allowed = library == "libc.so.6"
            || (library == "libdl.so.2" && limit.is_some_and(|limit| limit < ONE_LIBRARY));
        if !is_allowed {
            faults.push(format!("needs {library}"));
        }
    }
    if let (Some(limit), Some(newest)) = (limit, newest_glibc(elf))
        && newest > limit
    {
        let users = elf.required.iter().filter(|name| version_of(name) > Some(limit));
        let users: Vec<_> = users.map(String::as_str).collect();
        faults.push(format!("needs a newer glibc than {limit}: {}", users.join(", ")));
    }
    // libc reserves room for what it knows of at the start; for anything else it calls its allocator
    if elf.has_thread_locals && (!elf.has_static_tls || requires(elf, "__tls_get_addr")) {
        faults.push("has thread-local variables that are made at first use".into());
    }
    if elf.writable_pages > WRITABLE_PAGES {
        faults.push(format!("has {} pages of writable memory", elf.writable_pages));
    }
    faults
}

fn requires(elf: &Elf, function: &str) -> bool {
    elf.required
        .iter()
        .any(|name| name.split('@').next() == Some(function))
}

/// The newest version of glibc that one of its symbols needs.
fn newest_glibc(elf: &Elf) -> Option<Glibc> {
    elf.required.iter().filter_map(|name| version_of(name)).max()
}

fn version_of(name: &str) -> Option<Glibc> {
    name.split_once("@GLIBC_")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf() -> Elf {
        Elf {
            exported: ["connect", "execl"].map(str::to_owned).into(),
            required: ["dlsym@GLIBC_2.34", "__gmon_start__"].map(str::to_owned).into(),
            needed: vec!["libc.so.6".to_owned()],
            writable_pages: WRITABLE_PAGES,
            ..Elf::default()
        }
    }

    #[test]
    fn correct_library_has_no_faults() {
        let listed = BTreeSet::from(["connect", "execl"]);
        assert_eq!(faults(&elf(), &listed, Some(Glibc(2, 34))), Vec::<String>::new());
        assert_eq!(newest_glibc(&elf()), Some(Glibc(2, 34)));
    }

    #[test]
    fn every_fault_is_named() {
        let mut elf = elf();
        elf.needed.push("libgcc_s.so.1".to_owned());
        elf.has_thread_locals = true;
        let (listed, limit) = (BTreeSet::from(["connect", "sendto"]), Some(Glibc(2, 17)));
        assert_eq!(
            faults(&elf, &listed, limit),
            [
                "exports execl, which is not listed",
                "does not export sendto",
                "needs libgcc_s.so.1",
                "needs a newer glibc than 2.17: dlsym@GLIBC_2.34",
                "has thread-local variables that are made at first use",
            ]
        );
        elf.has_static_tls = true;
        assert_eq!(faults(&elf, &listed, limit).len(), 4);
        elf.required.insert("__tls_get_addr@GLIBC_2.3".into());
        assert_eq!(faults(&elf, &listed, limit).len(), 5);
        elf.writable_pages = 4;
        assert_eq!(
            faults(&elf, &listed, limit).last().unwrap(),
            "has 4 pages of writable memory"
        );
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let old: Glibc = "2.2.5".parse().unwrap();
        assert!(old < Glibc(2, 17) && Glibc(2, 4) < Glibc(2, 17));
        assert!("glibc".parse::<Glibc>().is_err());
    }
}
