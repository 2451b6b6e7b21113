//! Cargo, started from a program that cargo itself has started.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, workspace};

/// The variables that `cargo run` sets for the program's own package.
const OF_XTASK: [&str; 5] = [
    "CARGO_BIN_",
    "CARGO_CRATE_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PRIMARY_",
];

/// Cargo at the top of the workspace, as if typed in a shell.
///
/// Build scripts look at the variables of their own package (ring's does) and would run anew, with all that depends
/// on them, each time that `cargo xtask` and a plain cargo take turns.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace::root());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_xtask) {
            command.env_remove(name);
        }
    }
    command
}

/// Builds the programs and libraries of the workspace without optimisation, as tests use them, and returns their
/// folder. One command line for all: cargo builds again for another choice of packages, whose features differ.
pub(crate) fn build_programs() -> Result<PathBuf> {
    process::visible(command().args(["build", "--quiet", "--workspace", "--bins", "--lib"]))?;
    Ok(workspace::target().join("debug"))
}

/// The value of CARGO_ENCODED_RUSTFLAGS by which no path of this machine gets into what rustc builds: the same
/// sources give the same bytes wherever they and cargo's downloads lie.
pub(crate) fn without_paths_of_this_machine() -> Result<OsString> {
    let home = match env::var_os("CARGO_HOME") {
        Some(home) => Some(workspace::root().join(home)),
        None => env::home_dir().map(|home| home.join(".cargo")),
    };
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    let target = workspace::target();
    // of several that fit, rustc takes the last: the target folder may lie in the clone
    let renamed = [
        (workspace::root(), "kinject"),
        (&target, "target"),
        (&home, "cargo"),
    ];
    let mut flags = OsString::new();
    for (path, name) in renamed {
        if !flags.is_empty() {
            flags.push("\x1f");
        }
        flags.push("--remap-path-prefix=");
        flags.push(path);
        flags.push(format!("={name}"));
    }
    Ok(flags)
}

fn is_of_xtask(name: &str) -> bool {
    OF_XTASK.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_cargo_settings_are_kept() {
        assert!(is_of_xtask("CARGO_PKG_NAME") && is_of_xtask("CARGO_MANIFEST_DIR"));
        for name in [
            "CARGO",
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_JOBS",
            "RUSTFLAGS",
        ] {
            assert!(!is_of_xtask(name), "{name}");
        }
    }
}
