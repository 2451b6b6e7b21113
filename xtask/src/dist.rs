//! `cargo xtask dist`: the one executable that is distributed, which runs wherever glibc is 2.17 or newer.
//!
//! It holds the launcher, the relay, the preloaded libraries and the agents. There are two libraries, of which the
//! launcher unpacks the one that fits: before glibc 2.34 the dynamic linker's own functions are in a library of their
//! own, which makes each exec in a session dearer.
//!
//! ```text
//! target/dist/ARCHITECTURE/glibc-2.34/libkinject_preload.so      what the launcher's build script reads
//! target/dist/ARCHITECTURE/glibc-2.17/libkinject_preload.so
//! target/dist/ARCHITECTURE/agents/...
//! target/dist/kinject-VERSION-ARCHITECTURE-linux                 the executable
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use kinject_bundle::{AGENTS_FOLDER, Architecture, DIGEST_FILE, LOADER_FILE, PACKED_FILE, PreloadLibrary};

use crate::exports::{self, Glibc};
use crate::zig::{Build, Zig};
use crate::{agent, cargo, commit, process, rust_target, workspace};

/// The versions of glibc that a library is built for, newest first.
const LIBRARIES: [Glibc; 2] = [Glibc(2, 34), Glibc(2, 17)];

/// The oldest glibc that the executable runs with: Rust's own limit.
const OLDEST: Glibc = Glibc(2, 17);

/// What one file may have at most.
const LARGEST: u64 = 25 << 20;

/// Build the one executable that is distributed, for any glibc since 2.17
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Put it into this folder instead of target/dist
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,

    /// Build for this architecture, amd64 or arm64; this machine's own if not given
    #[arg(long, value_name = "ARCHITECTURE")]
    target: Option<Architecture>,

    /// Build only the preloaded libraries
    #[arg(long, conflicts_with = "output")]
    libraries: bool,

    /// Build for this machine, without optimisation and into target/debug/single-file, as tests want it
    #[arg(long, conflicts_with_all = ["output", "target", "libraries"])]
    debug: bool,
}

/// Runs the subcommand.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    if args.debug {
        println!("{}", debug()?.display());
        return Ok(ExitCode::SUCCESS);
    }
    let architecture = match args.target {
        Some(architecture) => architecture,
        None => rust_target::this_machine()?,
    };
    let builder = Builder::new(architecture, &workspace::target().join("zig"))?;
    let folder = workspace::target().join("dist");
    let parts = folder.join(architecture.rust_name());
    if args.libraries {
        builder.libraries(&parts)?;
    } else {
        builder.parts(&parts)?;
        let executable = builder.executable(&parts, &args.output.unwrap_or(folder))?;
        println!("{}", executable.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the executable from what `cargo build` makes for this machine.
///
/// Cargo has one name for the launcher with and without the other parts: the executable is copied, and the launcher
/// that the other tests use is put back.
pub(crate) fn debug() -> Result<PathBuf> {
    let built = workspace::target().join("debug");
    let folder = built.join("single-file");
    let parts = folder.join("parts");
    remove_folder(&folder)?;
    let programs = ["build", "--quiet", "--workspace", "--lib", "--bins"];
    process::visible(cargo::command().args(programs))?;
    for glibc in LIBRARIES {
        let library = parts
            .join(format!("glibc-{glibc}"))
            .join(PreloadLibrary::FILE_NAME);
        copy(&built.join(PreloadLibrary::FILE_NAME), &library)?;
        // a library of each glibc with a hash of its own; the dynamic linker reads nothing behind the last section
        append(&library, format!("glibc-{glibc}").as_bytes())?;
    }
    copy_agents(
        &workspace::target().join(AGENTS_FOLDER),
        &parts.join(AGENTS_FOLDER),
    )?;
    process::visible(
        cargo::command()
            .env("KINJECT_BUNDLE", &parts)
            .args(programs)
            .args(["--features", "kinject/bundle"]),
    )?;
    let executable = folder.join("kinject");
    copy(&built.join("kinject"), &executable)?;
    process::visible(cargo::command().args(programs))?;
    Ok(executable)
}

/// Copies the agents that `cargo xtask agent` has made. In the place of one that it has not made stands a file that is
/// no program: tests of images need one for each architecture.
fn copy_agents(from: &Path, to: &Path) -> Result<()> {
    for architecture in Architecture::ALL {
        let name = architecture.kubernetes_name();
        let (agent, folder) = (from.join(name), to.join(name));
        if agent.is_dir() {
            for file in [LOADER_FILE, PACKED_FILE, DIGEST_FILE] {
                copy(&agent.join(file), &folder.join(file))?;
            }
        } else {
            // of more bytes than the smallest dictionary of xz has
            let made_up = format!("in the place of the agent for {architecture}\n").repeat(200);
            agent::write_files(architecture, &folder, b"no loader\n", made_up.as_bytes())?;
        }
    }
    Ok(())
}

fn append(file: &Path, bytes: &[u8]) -> Result<()> {
    let mut content = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    content.extend_from_slice(bytes);
    fs::write(file, content).with_context(|| format!("writing {}", file.display()))
}

/// Builds the parts for one architecture.
pub(crate) struct Builder {
    architecture: Architecture,
    zig: Zig,
    /// Where cargo keeps what it builds.
    target_folder: PathBuf,
}

impl Builder {
    /// One whose builds stay in this folder.
    pub(crate) fn new(architecture: Architecture, target_folder: &Path) -> Result<Self> {
        Ok(Self {
            architecture,
            zig: Zig::install()?,
            target_folder: target_folder.to_owned(),
        })
    }

    /// Builds the preloaded libraries into the folder of parts.
    pub(crate) fn libraries(&self, parts: &Path) -> Result<()> {
        for glibc in LIBRARIES {
            let built = self.build(glibc, &["--package", "kinject-preload", "--lib"], "release", &[])?;
            let library = parts
                .join(format!("glibc-{glibc}"))
                .join(PreloadLibrary::FILE_NAME);
            copy(&built.join(PreloadLibrary::FILE_NAME), &library)?;
            println!("{}", exports::check(&library, Some(glibc))?);
        }
        Ok(())
    }

    /// Builds everything that the executable is to hold. It serves clusters with nodes of all architectures, so it
    /// holds each agent for which Rust's standard library is installed.
    pub(crate) fn parts(&self, parts: &Path) -> Result<()> {
        self.libraries(parts)?;
        for architecture in Architecture::ALL {
            let folder = parts.join(AGENTS_FOLDER).join(architecture.kubernetes_name());
            match rust_target::check_installed(architecture) {
                Ok(()) => agent::write(architecture, &folder).map(drop)?,
                Err(error) if architecture != self.architecture => {
                    println!("the executable will hold no agent for {architecture}: {error}");
                    remove_folder(&folder)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Builds the executable around a folder of parts, and puts it into a folder.
    pub(crate) fn executable(&self, parts: &Path, folder: &Path) -> Result<PathBuf> {
        let parts = parts.to_str().context("the target folder's path is not UTF-8")?;
        let commit = commit::of_workspace();
        let mut variables = vec![("KINJECT_BUNDLE", parts)];
        variables.extend(commit.as_deref().map(|commit| ("KINJECT_COMMIT", commit)));
        let arguments = ["--package", "kinject", "--features", "bundle"];
        let built = self
            .build(OLDEST, &arguments, "dist", &variables)?
            .join("kinject");
        exports::check_program(&built, OLDEST)?;
        let size = fs::metadata(&built)
            .with_context(|| format!("looking at {}", built.display()))?
            .len();
        if size > LARGEST {
            bail!("{} has {size} bytes, more than {LARGEST}", built.display());
        }
        let name = format!(
            "kinject-{}-{}-linux",
            workspace::VERSION,
            self.architecture.rust_name()
        );
        let executable = folder.join(name);
        copy(&built, &executable)?;
        Ok(executable)
    }

    fn build(
        &self,
        glibc: Glibc,
        arguments: &[&str],
        profile: &str,
        variables: &[(&str, &str)],
    ) -> Result<PathBuf> {
        self.zig.build(&Build {
            architecture: self.architecture,
            glibc,
            profile,
            // one for each version: cargo does not see that the version has changed
            target_folder: &self.target_folder.join(format!("glibc-{glibc}")),
            arguments,
            variables,
        })
    }
}

fn remove_folder(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("copying {} to {}", from.display(), to.display());
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(what)?;
    }
    // fs::copy keeps the mode, and so the executable bit
    fs::copy(from, to).with_context(what).map(drop)
}
