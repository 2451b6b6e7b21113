//! Cargo, started from a program that cargo itself has started.

use std::env;
use std::process::Command;

use crate::workspace;

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
