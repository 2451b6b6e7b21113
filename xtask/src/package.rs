//! `cargo xtask package`: the files that a release publishes, made from the executables of `cargo xtask dist`.
//!
//! ```text
//! target/package/
//!   kinject-VERSION-x86_64-linux                executable
//!   kinject-VERSION-x86_64-linux.tar.gz         the same with manual pages, completions and documentation
//!   kinject_VERSION_amd64.deb
//!   kinject-VERSION-1.x86_64.rpm
//!   kinject-VERSION-x86_64-linux.cdx.json       software bill of materials (CycloneDX)
//!   kinject-VERSION-x86_64-linux.licenses.txt   licenses of third-party software in the executable
//!   kinject.yaml                                manifest for krew, kubectl's manager of plug-ins
//!   SHA256SUMS
//! ```
//!
//! The build is reproducible: the same commit gives the same bytes, in whichever folder and with whichever umask it is
//! built. Files in packages are sorted, belong to root, and have fixed modes and the time of the commit.

mod components;
mod contents;
mod copyright;
mod deb;
mod krew;
mod licenses;
#[cfg(test)]
mod modes_tests;
mod output;
mod reproducible;
mod rpm;
mod sbom;
mod tarball;
mod trial;
#[cfg(test)]
mod workflow_tests;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use kinject_bundle::Architecture;

use crate::archive::digest;
use crate::dist::Builder;
use crate::{commit, hint, process, rust_target, workspace};

use self::components::Components;
use self::contents::Contents;
use self::output::OutputFolder;

/// The one-line summary that package managers show.
const SUMMARY: &str = "run local programs as if they stood inside a Kubernetes cluster";
/// The longer description that they show for one package.
const DESCRIPTION: &str = "\
kinject runs any local process as if it stood inside a Kubernetes cluster:
names resolve as in the cluster, and connections leave from the cluster. It
needs no root, no VPN, no daemon and no change to the program.";

/// kinject's own license, in the syntax of SPDX.
const LICENSE: &str = "MIT OR Apache-2.0";

/// Lists the SHA-256 of each other file of a release, in the format of sha256sum(1).
const CHECKSUM_FILE: &str = "SHA256SUMS";

/// Names of files with the SHA-256 of their contents.
type Checksums = BTreeMap<String, String>;

/// Build what a release publishes: executables, packages, checksums, licenses and a bill of materials
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write into this folder instead of target/package
    ///
    /// It has to be new, empty, or hold only what an earlier run wrote, which is replaced.
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,

    /// Build for this architecture, amd64 or arm64; may be given twice; this machine's own if not given
    #[arg(long = "target", value_name = "ARCHITECTURE")]
    targets: Vec<Architecture>,

    /// Where the release's files can be downloaded; the krew manifest needs it
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// Build a second time, in a clone of the commit in another folder, and compare all files
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
    // before a build that takes minutes
    let output = OutputFolder::open(&folder)?;
    let commit = match args.check_reproducible {
        true => Some(reproducible::committed()?),
        false => None,
    };
    let release = Release::of(&args)?;
    let staging = tempfile::Builder::new()
        .prefix("package-")
        .tempdir_in(workspace::target())
        .context("making a folder for new packages")?;
    let checksums = release.build(staging.path(), &workspace::target().join("zig"))?;
    output.replace_files(staging.path(), &checksums)?;
    if let Some(commit) = commit {
        reproducible::build_again_and_compare(&release, &commit, &checksums)?;
    }
    for (name, checksum) in &checksums {
        println!("{checksum}  {name}");
    }
    println!("written to {}", folder.display());
    Ok(ExitCode::SUCCESS)
}

/// What is released.
struct Release {
    architectures: Vec<Architecture>,
    url: Option<String>,
    /// The modification time of all packaged files, in seconds since 1970.
    time: u64,
}

impl Release {
    fn of(args: &Args) -> Result<Self> {
        let architectures = match args.targets.as_slice() {
            [] => vec![rust_target::this_machine()?],
            targets => targets.to_vec(),
        };
        Ok(Self {
            architectures,
            url: args.url.clone(),
            time: file_time(env::var("SOURCE_DATE_EPOCH").ok())?,
        })
    }

    /// Builds all files into a folder; `builds` is where cargo keeps what it has compiled.
    fn build(&self, folder: &Path, builds: &Path) -> Result<Checksums> {
        let mut tarballs = Vec::new();
        for architecture in self.architectures.iter().copied() {
            let builder = Builder::new(architecture, builds)?;
            let parts = builds.join("parts").join(architecture.rust_name());
            builder.parts(&parts)?;
            let executable = builder.executable(&parts, folder)?;
            let agents: Vec<Architecture> = kinject_bundle::carried_agents(&parts)?
                .iter()
                .map(|agent| agent.architecture)
                .collect();
            let components = Components::of_executable(architecture, &agents)?;
            let stem = file_stem(architecture);
            sbom::write(
                &components,
                architecture,
                &folder.join(format!("{stem}.cdx.json")),
            )?;
            let licenses = licenses::third_party(&components)?;
            write(&folder.join(format!("{stem}.licenses.txt")), licenses.as_bytes())?;
            let contents = Contents::of(&executable, licenses)?;
            let tarball = tarball::write(&contents, architecture, self.time, folder)?;
            let copyright = copyright::debian(&components)?;
            deb::write(&contents, &copyright, architecture, self.time, folder)?;
            rpm::write(&contents, architecture, self.time, folder)?;
            tarballs.push((architecture, tarball));
        }
        match &self.url {
            Some(url) => krew::write(&tarballs, url, folder)?,
            None => println!("no manifest for krew is written: name the release's place with --url"),
        }
        let checksums = checksums(folder)?;
        write_checksums(&checksums, folder)?;
        Ok(checksums)
    }
}

/// The time that <https://reproducible-builds.org/specs/source-date-epoch/> asks for, or else that of the commit.
fn file_time(source_date_epoch: Option<String>) -> Result<u64> {
    let Some(time) = source_date_epoch else {
        return commit::time().ok_or_else(|| {
            hint::error(
                "packaged files have the time of the commit, and there is none",
                "run it in a clone, or set SOURCE_DATE_EPOCH to seconds since 1970",
            )
        });
    };
    time.parse().map_err(|_| {
        hint::error(
            format!("SOURCE_DATE_EPOCH is not a number of seconds: {time}"),
            "set it to seconds since 1970, or unset it",
        )
    })
}

/// What names of files begin with that exist for each architecture.
fn file_stem(architecture: Architecture) -> String {
    format!(
        "kinject-{}-{}-linux",
        workspace::VERSION,
        architecture.rust_name()
    )
}

/// The SHA-256 of each file of a folder.
fn checksums(folder: &Path) -> Result<Checksums> {
    let mut checksums = Checksums::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        checksums.insert(name, digest(&read(&entry.path())?));
    }
    Ok(checksums)
}

fn write_checksums(checksums: &Checksums, folder: &Path) -> Result<()> {
    let lines: String = checksums
        .iter()
        .map(|(name, checksum)| format!("{checksum}  {name}\n"))
        .collect();
    write(&folder.join(CHECKSUM_FILE), lines.as_bytes())
}

/// The checksums that are listed in a folder; `None` where it has no list.
fn read_checksums(folder: &Path) -> Result<Option<Checksums>> {
    let file = folder.join(CHECKSUM_FILE);
    let text = match fs::read_to_string(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("reading {}", file.display()))?,
    };
    let lines = text.lines().map(|line| {
        let (checksum, name) = line
            .split_once("  ")
            .with_context(|| format!("{} has a line without a checksum: {line}", file.display()))?;
        Ok((name.to_owned(), checksum.to_owned()))
    });
    lines.collect::<Result<_>>().map(Some)
}

/// Runs a tool that makes packages; the hint names the Debian package of one that is missing.
fn run_tool(command: &mut Command, hint: &str) -> Result<String> {
    process::output(command).map_err(|error| {
        let causes = error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>());
        match causes
            .map(io::Error::kind)
            .any(|kind| kind == ErrorKind::NotFound)
        {
            true => hint::error(format!("{error:#}"), hint),
            false => error,
        }
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_date_epoch_that_is_no_number_is_refused_with_its_value() {
        assert_eq!(file_time(Some("1700000000".to_owned())).unwrap(), 1_700_000_000);
        let error = file_time(Some("yesterday".to_owned())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "SOURCE_DATE_EPOCH is not a number of seconds: yesterday"
        );
    }

    #[test]
    fn missing_tool_gets_a_hint_and_failed_tool_keeps_its_own_words() {
        let missing = run_tool(&mut Command::new("/no/such/tool"), "install it").unwrap_err();
        assert_eq!(hint::of(&missing), Some("install it"));
        let failed = run_tool(
            Command::new("sh").args(["-c", "echo bad >&2; exit 1"]),
            "install it",
        )
        .unwrap_err();
        assert_eq!(hint::of(&failed), None);
        assert!(failed.to_string().ends_with("bad"), "{failed}");
    }

    #[test]
    fn written_checksums_are_read_back_and_a_folder_without_them_has_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_checksums(folder.path()).unwrap(), None);
        write(&folder.path().join("kinject.yaml"), b"{}").unwrap();
        let checksums = checksums(folder.path()).unwrap();
        write_checksums(&checksums, folder.path()).unwrap();
        assert_eq!(read_checksums(folder.path()).unwrap(), Some(checksums));
    }

    #[test]
    fn output_folder_with_files_of_others_is_refused_before_anything_is_built() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("report.txt");
        fs::write(&other, "kept").unwrap();
        let args = Args {
            output: Some(folder.path().to_owned()),
            targets: Vec::new(),
            url: None,
            check_reproducible: false,
            try_out: false,
        };
        let error = run(args).unwrap_err();
        assert!(error.to_string().contains("report.txt"), "{error}");
        assert_eq!(fs::read_to_string(&other).unwrap(), "kept");
    }
}
