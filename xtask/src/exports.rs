//! What the preloaded library shows to the dynamic linker, and what it asks of it.
//!
//! A library that needs a version of glibc which a machine does not have keeps every program of that machine from
//! starting; one that exports a name by accident replaces that function in every program; one that needs another
//! library makes every exec load it, and so does memory of its own. So all four are checked, against `preload/exports.txt`
//! and the numbers below.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::str::FromStr;

use anyhow::{Context, Result, bail};

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

/// What every exec pays for: memory that is written. A linker that does not start a page for it takes one more.
const WRITABLE_PAGES: u64 = 2;

const PAGE: u64 = 4096;

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

/// Looks at a library; gives one line about it, or an error that names every fault.
pub(crate) fn check(library: &Path, limit: Option<Glibc>) -> Result<String> {
    let seen = Seen {
        exported: names(&tool("nm", &["-D", "--defined-only"], library)?),
        required: names(&tool("nm", &["-D", "--undefined-only"], library)?),
        dynamic: tool("readelf", &["-dW"], library)?,
        segments: tool("readelf", &["-lW"], library)?,
    };
    let list = workspace::root().join(EXPORTS);
    let listed = std::fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
    let faults = seen.faults(&listed.lines().collect(), limit);
    if faults.is_empty() {
        let glibc = seen
            .glibc()
            .map_or("no version".to_owned(), |version| version.to_string());
        return Ok(format!(
            "{}: {} hooks, needs {} and glibc {glibc}",
            library.display(),
            seen.exported.len(),
            seen.needed().join(", "),
        ));
    }
    Err(hint::error(
        format!("{}: {}", library.display(), faults.join("; ")),
        format!("a new hook belongs into {EXPORTS}; a new version or library needs a way around it"),
    ))
}

/// Fails when a program needs a newer glibc than this.
pub(crate) fn check_program(program: &Path, limit: Glibc) -> Result<()> {
    let required = names(&tool("nm", &["-D", "--undefined-only"], program)?);
    match required.iter().find(|name| version_of(name) > Some(limit)) {
        Some(name) => bail!("{} needs {name}, more than glibc {limit}", program.display()),
        None => Ok(()),
    }
}

/// Output of binutils; on a machine that links Rust programs they are there.
fn tool(name: &str, options: &[&str], library: &Path) -> Result<String> {
    process::output(Command::new(name).env("LC_ALL", "C").args(options).arg(library))
}

/// The last word of each line.
fn names(table: &str) -> BTreeSet<String> {
    table
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .map(str::to_owned)
        .collect()
}

/// What a library says of itself.
struct Seen {
    exported: BTreeSet<String>,
    /// With their versions, as in `dlsym@GLIBC_2.34`.
    required: BTreeSet<String>,
    /// The dynamic section.
    dynamic: String,
    /// The program headers.
    segments: String,
}

impl Seen {
    fn faults(&self, listed: &BTreeSet<&str>, limit: Option<Glibc>) -> Vec<String> {
        let mut faults = Vec::new();
        for name in &self.exported {
            if !listed.contains(name.as_str()) {
                faults.push(format!("exports {name}, which is not listed"));
            }
        }
        for name in listed {
            if !self.exported.contains(*name) {
                faults.push(format!("does not export {name}"));
            }
        }
        for library in self.needed() {
            let is_allowed = library == "libc.so.6"
                || (library == "libdl.so.2" && limit.is_some_and(|limit| limit < ONE_LIBRARY));
            if !is_allowed {
                faults.push(format!("needs {library}"));
            }
        }
        if let (Some(limit), Some(newest)) = (limit, self.glibc())
            && newest > limit
        {
            let users = self.required.iter().filter(|name| version_of(name) > Some(limit));
            let users: Vec<_> = users.map(String::as_str).collect();
            faults.push(format!("needs a newer glibc than {limit}: {}", users.join(", ")));
        }
        // libc reserves room for what it knows of at the start; for anything else it calls its allocator
        let is_laid_out = self.dynamic.contains("STATIC_TLS");
        if self.has_thread_locals() && (!is_laid_out || self.requires("__tls_get_addr")) {
            faults.push("has thread-local variables that are made at first use".into());
        }
        let pages = self.writable_pages();
        if pages > WRITABLE_PAGES {
            faults.push(format!("has {pages} pages of writable memory"));
        }
        faults
    }

    /// How many pages hold the segments that are writable.
    fn writable_pages(&self) -> u64 {
        let number = |field: &str| u64::from_str_radix(field.strip_prefix("0x")?, 16).ok();
        let pages = self.segments.lines().filter_map(|line| {
            // type, offset, two addresses, size in the file and in memory, flags
            let fields: Vec<_> = line.split_whitespace().collect();
            let ["LOAD", _, start, _, _, size, flags, ..] = fields.as_slice() else {
                return None;
            };
            let (start, size) = (number(start)?, number(size)?);
            let last = start.checked_add(size)?.div_ceil(PAGE);
            flags.contains('W').then(|| last.saturating_sub(start / PAGE))
        });
        pages.sum()
    }

    fn has_thread_locals(&self) -> bool {
        self.segments
            .lines()
            .any(|line| line.split_whitespace().next() == Some("TLS"))
    }

    fn requires(&self, function: &str) -> bool {
        self.required
            .iter()
            .any(|name| name.split('@').next() == Some(function))
    }

    /// The libraries that are loaded with it.
    fn needed(&self) -> Vec<&str> {
        let lines = self.dynamic.lines().filter(|line| line.contains("(NEEDED)"));
        lines
            .filter_map(|line| Some(line.split_once('[')?.1.trim_end_matches(']')))
            .collect()
    }

    /// The newest version of glibc that one of its symbols needs.
    fn glibc(&self) -> Option<Glibc> {
        self.required.iter().filter_map(|name| version_of(name)).max()
    }
}

fn version_of(name: &str) -> Option<Glibc> {
    name.split_once("@GLIBC_")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen {
            exported: names("0000000000001234 T connect\n0000000000005678 T execl\n"),
            required: names("                 U dlsym@GLIBC_2.34\n                 w __gmon_start__\n"),
            dynamic: " 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]\n".into(),
            segments: "  LOAD           0x000000 0x0000000000000000 0x0000000000000000 0x0087 0x9000 R E 0x1000\n  \
                       LOAD           0x027c60 0x0000000000029c60 0x0000000000029c60 0x02e8 0x0a00 RW  0x1000\n"
                .into(),
        }
    }

    #[test]
    fn a_library_as_it_should_be_has_no_faults() {
        let listed = BTreeSet::from(["connect", "execl"]);
        assert_eq!(seen().faults(&listed, Some(Glibc(2, 34))), Vec::<String>::new());
        assert_eq!(seen().glibc(), Some(Glibc(2, 34)));
    }

    #[test]
    fn every_fault_is_named() {
        let mut seen = seen();
        seen.dynamic += " 0x0000000000000001 (NEEDED)             Shared library: [libgcc_s.so.1]\n";
        seen.segments += "  TLS            0x058690\n";
        let (listed, limit) = (BTreeSet::from(["connect", "sendto"]), Some(Glibc(2, 17)));
        assert_eq!(
            seen.faults(&listed, limit),
            [
                "exports execl, which is not listed",
                "does not export sendto",
                "needs libgcc_s.so.1",
                "needs a newer glibc than 2.17: dlsym@GLIBC_2.34",
                "has thread-local variables that are made at first use",
            ]
        );
        seen.dynamic += " 0x000000000000001e (FLAGS)              STATIC_TLS\n";
        assert_eq!(seen.faults(&listed, limit).len(), 4);
        seen.required.insert("__tls_get_addr@GLIBC_2.3".into());
        assert_eq!(seen.faults(&listed, limit).len(), 5);
        seen.segments += "  LOAD  0x028000 0x000000000002b000 0x000000000002b000 0x0000 0x1001 RWE 0x1000\n";
        assert_eq!(
            seen.faults(&listed, limit).last().unwrap(),
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
