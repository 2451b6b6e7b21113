//! `cargo xtask package`: what a release publishes, made of the executables of `cargo xtask dist`.
//!
//! ```text
//! target/package/
//!   kinject-VERSION-x86_64-linux           the executable alone
//!   kinject-VERSION-x86_64-linux.tar.gz    with manual pages, completions and documentation
//!   kinject_VERSION_amd64.deb
//!   kinject-VERSION-1.x86_64.rpm
//!   kinject.yaml                           for krew, kubectl's manager of plug-ins
//!   kinject-VERSION.cdx.json               the software bill of materials (CycloneDX)
//!   SHA256SUMS
//! ```
//!
//! The same commit gives the same bytes: files are sorted, belong to root and bear the commit's time.

mod contents;
mod deb;
mod krew;
mod rpm;
mod sbom;
mod tarball;
mod trial;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use kinject_bundle::Architecture;

use crate::archive::digest;
use crate::dist::Builder;
use crate::{commit, rust_target, workspace};

use self::contents::Contents;

/// What packages say of kinject, in a line and in some.
const SUMMARY: &str = "run local programs as if they stood inside a Kubernetes cluster";
const DESCRIPTION: &str = "\
kinject runs any local process as if it stood inside a Kubernetes cluster:
names resolve as in the cluster, and connections leave from the cluster. It
needs no root, no VPN, no daemon and no change to the program.";

/// Build what a release publishes: executables, packages, checksums and a bill of materials
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Put all of it into this folder instead of target/package
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,

    /// Build for this architecture, amd64 or arm64; may be given twice; this machine's own if not given
    #[arg(long = "target", value_name = "ARCHITECTURE")]
    targets: Vec<Architecture>,

    /// Where the release's files can be downloaded; the krew manifest needs it
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// Build everything twice, the second time from nothing, and compare
    #[arg(long)]
    check_reproducible: bool,

    /// Build nothing; install each package that was built into a clean Debian, run it and remove it
    ///
    /// Needs root, debootstrap and a network.
    #[arg(long = "try", conflicts_with_all = ["targets", "url", "check_reproducible"])]
    try_out: bool,
}

/// Runs the subcommand.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let folder = args
        .output
        .clone()
        .unwrap_or_else(|| workspace::target().join("package"));
    if args.try_out {
        trial::run(&folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let release = Release::of(&args)?;
    let sums = release.build(&folder, &workspace::target().join("zig"))?;
    if args.check_reproducible {
        check_reproducible(&release, &sums)?;
    }
    for (name, sum) in &sums {
        println!("{sum}  {name}");
    }
    println!("written to {}", folder.display());
    Ok(ExitCode::SUCCESS)
}

/// What is released.
struct Release {
    architectures: Vec<Architecture>,
    url: Option<String>,
    /// The time that all files bear, in seconds since 1970.
    time: u64,
}

impl Release {
    fn of(args: &Args) -> Result<Self> {
        let architectures = match args.targets.as_slice() {
            [] => vec![rust_target::this_machine()?],
            targets => targets.to_vec(),
        };
        // https://reproducible-builds.org/specs/source-date-epoch/
        let time = match env::var("SOURCE_DATE_EPOCH") {
            Ok(time) => time
                .parse()
                .context("SOURCE_DATE_EPOCH is no number of seconds")?,
            Err(_) => commit::time().context("there is no commit whose time the files could bear")?,
        };
        Ok(Self {
            architectures,
            url: args.url.clone(),
            time,
        })
    }

    /// Builds all files into an empty folder; gives their names with their SHA-256.
    fn build(&self, folder: &Path, builds: &Path) -> Result<BTreeMap<String, String>> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let mut tarballs = Vec::new();
        for architecture in self.architectures.iter().copied() {
            let builder = Builder::new(architecture, builds)?;
            let parts = builds.join("parts").join(architecture.rust_name());
            builder.parts(&parts)?;
            let executable = builder.executable(&parts, folder)?;
            let contents = Contents::of(&executable)?;
            let tarball = tarball::write(&contents, architecture, self.time, folder)?;
            deb::write(&contents, architecture, self.time, folder)?;
            rpm::write(&contents, architecture, self.time, folder)?;
            tarballs.push((architecture, tarball));
        }
        match &self.url {
            Some(url) => krew::write(&tarballs, url, folder)?,
            None => println!("no manifest for krew is written: name the release's place with --url"),
        }
        sbom::write(folder)?;
        let sums = sums(folder)?;
        let lines: String = sums
            .iter()
            .map(|(name, sum)| format!("{sum}  {name}\n"))
            .collect();
        write(&folder.join("SHA256SUMS"), lines.as_bytes())?;
        Ok(sums)
    }
}

/// The SHA-256 of each file.
fn sums(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut sums = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        sums.insert(name, digest(&read(&entry.path())?));
    }
    Ok(sums)
}

/// Builds everything once more where nothing was built before.
fn check_reproducible(release: &Release, first: &BTreeMap<String, String>) -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("package-")
        .tempdir_in(workspace::target())
        .context("making a folder for the second build")?;
    let second = release.build(&folder.path().join("package"), &folder.path().join("build"))?;
    let names = first.keys().chain(second.keys());
    let different: Vec<&str> = names
        .filter(|name| first.get(*name) != second.get(*name))
        .map(String::as_str)
        .collect();
    if !different.is_empty() {
        bail!("a second build gives other bytes: {}", different.join(", "));
    }
    println!("a second build gives the same bytes");
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("reading {}", file.display()))
}

fn write(file: &Path, content: &[u8]) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    fs::write(file, content).with_context(|| format!("writing {}", file.display()))
}
