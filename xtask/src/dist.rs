//! A folder with everything that a machine needs to run kinject, whichever glibc it has.
//!
//! ```text
//! kinject-VERSION-ARCH-linux/
//!   bin/kinject, bin/kinject-relay
//!   lib/kinject/glibc-2.34/libkinject_preload.so
//!   lib/kinject/glibc-2.17/libkinject_preload.so
//!   share/doc/kinject/
//! ```
//!
//! The launcher chooses the library that fits. There are two, since before glibc 2.34 the dynamic linker's functions
//! are in a library of their own, whose loading makes each exec in a session slower. Zig's linker knows every glibc's
//! symbols and so builds for an older one than this machine's; it and cargo's way to call it come from PyPI.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::exports::{self, Glibc};
use crate::{cargo, hint, process, workspace};

/// What is installed from PyPI.
const TOOLS: [&str; 2] = ["cargo-zigbuild==0.24.0", "ziglang==0.17.1"];

/// The versions of glibc that a library is built for, newest first.
const LIBRARIES: [Glibc; 2] = [Glibc(2, 34), Glibc(2, 17)];

/// The oldest glibc that the programs run with: Rust's own limit.
const OLDEST: Glibc = Glibc(2, 17);

const PROGRAMS: [&str; 2] = ["kinject", "kinject-relay"];

/// Beside the folders of [`PAGES`], to which they lead.
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
];

/// Pages, and the manifests that they tell administrators to apply.
const PAGES: [&str; 2] = ["docs", "deploy"];

/// Build the folder that is distributed, for any glibc since 2.17
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Put the folder here instead of target/dist
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,

    /// Build only the preloaded libraries
    #[arg(long)]
    libraries: bool,
}

/// Runs the subcommand.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let parent = args.output.unwrap_or_else(|| workspace::target().join("dist"));
    let name = format!("kinject-{}-{}-linux", workspace::VERSION, env::consts::ARCH);
    // start with an empty folder, without files of an earlier build
    let folder = parent.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    let zig = Zig::install()?;
    for glibc in LIBRARIES {
        let built = zig.build(glibc, &["--package", "kinject-preload", "--lib"])?;
        let path = format!("lib/kinject/glibc-{glibc}/libkinject_preload.so");
        copy(&built.join("libkinject_preload.so"), &folder.join(&path))?;
        println!("{}", exports::check(&folder.join(&path), Some(glibc))?);
    }
    if !args.libraries {
        let packages: Vec<&str> = PROGRAMS.iter().flat_map(|name| ["--package", name]).collect();
        let built = zig.build(OLDEST, &packages)?;
        for name in PROGRAMS {
            exports::check_program(&built.join(name), OLDEST)?;
            copy(&built.join(name), &folder.join("bin").join(name))?;
        }
        let documents = folder.join("share/doc/kinject");
        for name in DOCUMENTS {
            copy(&workspace::root().join(name), &documents.join(name))?;
        }
        for name in PAGES {
            let pages = workspace::root().join(name);
            for page in fs::read_dir(&pages).with_context(|| format!("reading {}", pages.display()))? {
                let page = page?;
                if page.file_type()?.is_file() {
                    copy(&page.path(), &documents.join(name).join(page.file_name()))?;
                }
            }
        }
    }
    println!("{}", folder.display());
    Ok(ExitCode::SUCCESS)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("copying {} to {}", from.display(), to.display());
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(what)?;
    }
    // fs::copy keeps the mode, and so the executable bit
    fs::copy(from, to).with_context(what).map(drop)
}

/// Cargo with zig as its linker and C compiler.
struct Zig {
    /// The virtual environment's programs, then those of the user.
    path: OsString,
}

impl Zig {
    /// Installs the tools into a virtual environment of their own, unless they are there.
    fn install() -> Result<Self> {
        let environment = workspace::target().join("zig/tools");
        let stamp = environment.join("installed");
        let wanted = TOOLS.join("\n");
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return Self::of(&environment);
        }
        println!("installing {} from PyPI", TOOLS.join(" and "));
        process::output(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&environment),
        )
        .map_err(|error| {
            hint::error(
                format!("{error:#}"),
                "install Python 3 with venv (Debian: python3-venv)",
            )
        })?;
        process::output(
            Command::new(environment.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check"])
                .args(TOOLS),
        )
        .context("installing the tools")?;
        fs::write(&stamp, wanted).with_context(|| format!("writing {}", stamp.display()))?;
        Self::of(&environment)
    }

    fn of(environment: &Path) -> Result<Self> {
        let own = environment.join("bin");
        let others = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(std::iter::once(own).chain(env::split_paths(&others)))?;
        Ok(Self { path })
    }

    /// Builds for a version of glibc; gives the folder with the results.
    fn build(&self, glibc: Glibc, packages: &[&str]) -> Result<PathBuf> {
        let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
        // one target folder for each version: cargo does not rebuild for another one
        let folder = workspace::target().join(format!("zig/glibc-{glibc}"));
        process::visible(
            cargo::command()
                .env("PATH", &self.path)
                .args(["zigbuild", "--quiet", "--release"])
                .args(packages)
                .args(["--target", &format!("{target}.{glibc}"), "--target-dir"])
                .arg(&folder),
        )?;
        Ok(folder.join(target).join("release"))
    }
}
