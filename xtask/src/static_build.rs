//! Statically linked programs, which run in an empty image.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use kinject_bundle::Architecture;

use crate::elf::Elf;
use crate::{cargo, process, rust_target, workspace};

/// A program of the workspace, and how it is built.
pub(crate) struct StaticProgram<'a> {
    /// Its package, which has the same name.
    pub(crate) package: &'a str,
    /// The machines that it runs on.
    pub(crate) architecture: Architecture,
    /// Cargo's profile.
    pub(crate) profile: &'a str,
    /// The package's features.
    pub(crate) features: &'a [&'a str],
    /// Flags for rustc, besides those that make it static.
    pub(crate) flags: &'a [&'a str],
}

impl StaticProgram<'_> {
    /// Builds it without this machine's paths in it, and returns where it is.
    ///
    /// The target folder is one of its own: other flags in the shared one would build everything twice over, and
    /// `--target` keeps the flags away from build scripts and procedural macros, which cannot be static.
    pub(crate) fn build(&self) -> Result<PathBuf> {
        let target = rust_target::triple(self.architecture);
        rust_target::check_installed(self.architecture)?;
        let folder = workspace::target().join("static");
        let mut flags = OsString::from("-Ctarget-feature=+crt-static\x1f");
        for flag in self.flags {
            flags.push(format!("{flag}\x1f"));
        }
        flags.push(cargo::without_paths_of_this_machine()?);
        let mut cargo = cargo::command();
        cargo
            .args([
                "build",
                "--quiet",
                "--package",
                self.package,
                "--bin",
                self.package,
            ])
            .args(["--profile", self.profile, "--features", &self.features.join(",")])
            .args(["--target", &target, "--target-dir"])
            .arg(&folder)
            .env("CARGO_ENCODED_RUSTFLAGS", flags);
        if let Some((variable, linker)) = rust_target::cross_linker(self.architecture) {
            let linker = env::var_os(&variable).unwrap_or_else(|| linker.into());
            cargo.env(variable, linker);
        }
        process::visible(&mut cargo)
            .with_context(|| format!("building {} for {}", self.package, self.architecture))?;
        let binary = folder.join(target).join(self.profile).join(self.package);
        check(&binary)?;
        Ok(binary)
    }
}

/// Builds the release of a program for this machine, and returns where it is.
pub(crate) fn binary(package: &str) -> Result<PathBuf> {
    let program = StaticProgram {
        package,
        architecture: rust_target::this_machine()?,
        profile: "release",
        features: &[],
        flags: &[],
    };
    program.build()
}

/// Fails unless the binary runs in an empty image.
pub(crate) fn check(binary: &Path) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("reading {}", binary.display()))?;
    if Elf::parse(&bytes)?.has_interpreter {
        bail!("{} is not statically linked", binary.display());
    }
    Ok(())
}
