//! `cargo xtask dist`: the one executable that is distributed, which runs wherever glibc is 2.17 or newer.
//!
//! It holds the launcher, the relay, the preloaded libraries and the agents. There are two libraries, of which the
//! launcher unpacks the one that fits: before glibc 2.34 the dynamic linker's functions (`dlsym`) are in a library of
//! their own, and each exec of a session takes longer with it.
//!
//! ```text
//! target/dist/ARCHITECTURE/glibc-2.34/libkinject_preload.so      the parts, which the launcher's build script reads
//! target/dist/ARCHITECTURE/glibc-2.17/libkinject_preload.so
//! target/dist/ARCHITECTURE/agents/...
//! target/dist/kinject-VERSION-ARCHITECTURE-linux                 the executable
//! ```

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
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

/// Builds the executable of debug builds, for tests.
///
/// Its launcher has the same name as the one without parts, which other tests use at the same time. So cargo puts it
/// into another folder, and shares everything else with the usual builds.
pub(crate) fn debug() -> Result<PathBuf> {
    let target = workspace::target();
    let built = target.join("debug");
    let folder = built.join("single-file");
    let parts = folder.join("parts");
    cargo::build_programs()?;
    let library = read(&built.join(PreloadLibrary::FILE_NAME))?;
    for glibc in LIBRARIES {
        // the libraries need different hashes; the dynamic linker reads nothing behind the last section
        let content = [&library, format!("glibc-{glibc}").as_bytes()].concat();
        let file = parts
            .join(format!("glibc-{glibc}"))
            .join(PreloadLibrary::FILE_NAME);
        write(&file, &content, 0o755)?;
    }
    copy_agents(&target.join(AGENTS_FOLDER), &parts.join(AGENTS_FOLDER))?;
    let results = folder.join("cargo");
    process::visible(
        cargo::command()
            .env("KINJECT_BUNDLE", &parts)
            .env("CARGO_BUILD_BUILD_DIR", &target)
            .args(["build", "--quiet", "--workspace"])
            .args(["--bin", "kinject", "--features", "kinject/bundle", "--target-dir"])
            .arg(&results),
    )?;
    let executable = folder.join("kinject");
    copy(&results.join("debug/kinject"), &executable)?;
    Ok(executable)
}

/// Copies the agents that `cargo xtask agent` has made. A missing one is replaced by files that are no programs: tests
/// of images need an agent for each architecture.
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
            let placeholder = format!("in the place of the agent for {architecture}\n").repeat(200);
            agent::write_files(architecture, &folder, b"no loader\n", placeholder.as_bytes())?;
        }
    }
    Ok(())
}

/// Builds the executable for one architecture, and its parts.
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

/// Copies a file with its permissions, as [`write()`] does.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let content = read(from)?;
    let metadata = fs::metadata(from).with_context(|| format!("reading {}", from.display()))?;
    write(to, &content, metadata.permissions().mode())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("reading {}", file.display()))
}

/// Writes a file, unless it has this content. Its name always leads to a whole file: a test that runs at the same time
/// may execute the former one.
fn write(file: &Path, content: &[u8], mode: u32) -> Result<()> {
    // cargo builds anew what is made of a file with a later time
    if fs::read(file).is_ok_and(|former| former == content) {
        return Ok(());
    }
    let what = || format!("writing {}", file.display());
    let folder = file.parent().with_context(what)?;
    fs::create_dir_all(folder).with_context(what)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder).with_context(what)?;
    temporary.write_all(content).with_context(what)?;
    temporary
        .as_file()
        .set_permissions(fs::Permissions::from_mode(mode))
        .with_context(what)?;
    temporary.persist(file).with_context(what)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn copied_file_replaces_one_that_is_open_and_has_the_same_mode() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("new"), folder.path().join("folder/program"));
        write(&from, b"new", 0o755).unwrap();
        write(&to, b"former", 0o644).unwrap();
        let mut open = fs::File::open(&to).unwrap();
        copy(&from, &to).unwrap();
        let mut former = String::new();
        open.read_to_string(&mut former).unwrap();
        assert_eq!(former, "former");
        assert_eq!(fs::read(&to).unwrap(), b"new");
        assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o755);
        assert_eq!(fs::read_dir(to.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn file_with_the_same_content_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("program");
        let inode = || fs::metadata(&file).unwrap().ino();
        write(&file, b"content", 0o755).unwrap();
        let first = inode();
        write(&file, b"content", 0o755).unwrap();
        assert_eq!(inode(), first);
        write(&file, b"other", 0o755).unwrap();
        assert_ne!(inode(), first);
    }
}
