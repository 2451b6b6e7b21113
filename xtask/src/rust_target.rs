//! Rust's target for each architecture, and what has to be installed to build for it.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use kinject_bundle::Architecture;

use crate::{hint, process, workspace};

/// This machine's architecture.
pub(crate) fn this_machine() -> Result<Architecture> {
    Ok(env::consts::ARCH.parse()?)
}

/// The target's name (target triple).
pub(crate) fn triple(architecture: Architecture) -> String {
    format!("{}-unknown-linux-gnu", architecture.rust_name())
}

/// Fails if Rust's standard library for an architecture is not installed.
pub(crate) fn check_installed(architecture: Architecture) -> Result<()> {
    let target = &triple(architecture);
    let mut rustc = Command::new("rustc");
    rustc.current_dir(workspace::root());
    let folder = process::output(rustc.args(["--print", "target-libdir", "--target", target]))?;
    let folder = folder.trim();
    if Path::new(folder).is_dir() {
        return Ok(());
    }
    Err(hint::error(
        format!("Rust's standard library for {target} is not installed: {folder} is missing"),
        format!(
            "run `rustup target add {target}`; without a download, see \"Another architecture\" in CONTRIBUTING.md"
        ),
    ))
}

/// The variable by which cargo takes a linker for an architecture, and the linker that is used if it is not set; none
/// for this machine's own architecture.
pub(crate) fn cross_linker(architecture: Architecture) -> Option<(String, String)> {
    if architecture.rust_name() == env::consts::ARCH {
        return None;
    }
    let target = triple(architecture).replace('-', "_").to_uppercase();
    // as Debian and its relatives call it (gcc-aarch64-linux-gnu, with libc6-dev-arm64-cross)
    let linker = format!("{}-linux-gnu-gcc", architecture.rust_name());
    Some((format!("CARGO_TARGET_{target}_LINKER"), linker))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linker_of_another_architecture_is_gccs_and_this_machines_is_the_default() {
        for architecture in Architecture::ALL {
            let linker = cross_linker(architecture);
            if Some(architecture) == Architecture::of_this_machine() {
                assert_eq!(linker, None);
            } else {
                let (variable, program) = linker.unwrap();
                assert!(
                    variable.starts_with("CARGO_TARGET_") && variable.ends_with("_UNKNOWN_LINUX_GNU_LINKER")
                );
                assert_eq!(program, format!("{}-linux-gnu-gcc", architecture.rust_name()));
            }
        }
    }
}
