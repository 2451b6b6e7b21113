//! Cargo with Zig as its linker and C compiler, which knows every glibc's symbols: it builds for an older glibc than
//! this machine's, and for other processors. Both it and cargo's way to call it come from PyPI.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use kinject_bundle::Architecture;

use crate::exports::Glibc;
use crate::{cargo, hint, process, rust_target, workspace};

/// What is installed from PyPI.
const TOOLS: [&str; 2] = ["cargo-zigbuild==0.24.0", "ziglang==0.17.1"];

/// The installed tools.
pub(crate) struct Zig {
    /// The virtual environment's programs, then those of the user.
    path: OsString,
}

/// What is built, and how.
pub(crate) struct Build<'a> {
    /// For these machines.
    pub(crate) architecture: Architecture,
    /// For this glibc and newer ones.
    pub(crate) glibc: Glibc,
    /// Cargo's profile.
    pub(crate) profile: &'a str,
    /// Where cargo keeps what it builds.
    pub(crate) target_folder: &'a Path,
    /// What else cargo is told.
    pub(crate) arguments: &'a [&'a str],
    /// Variables for build scripts and `env!`.
    pub(crate) variables: &'a [(&'a str, &'a str)],
}

impl Zig {
    /// Installs the tools into a virtual environment of their own, unless they are there.
    pub(crate) fn install() -> Result<Self> {
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

    /// Builds; gives the folder with the results.
    pub(crate) fn build(&self, build: &Build<'_>) -> Result<PathBuf> {
        let target = rust_target::triple(build.architecture);
        rust_target::check_installed(build.architecture)?;
        process::visible(
            cargo::command()
                .env("PATH", &self.path)
                .env("CARGO_ENCODED_RUSTFLAGS", cargo::without_paths_of_this_machine()?)
                .envs(build.variables.iter().copied())
                .args(["zigbuild", "--quiet", "--locked", "--profile", build.profile])
                .args(build.arguments)
                .args(["--target", &format!("{target}.{}", build.glibc), "--target-dir"])
                .arg(build.target_folder),
        )?;
        Ok(build.target_folder.join(target).join(build.profile))
    }
}
