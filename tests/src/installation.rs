//! The programs under test beside agents that they carry.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{binaries, skip};

/// The folder with the agents that `cargo xtask agent` has packed, or a note that there are none.
pub fn agents() -> Option<PathBuf> {
    let built = binaries::folder();
    let shared = built.parent().map(|target| target.join("agents"));
    // `cargo xtask test` packs the one beside the builds, so that it is never older than they are
    let found = [shared, Some(built.join("agents"))]
        .into_iter()
        .flatten()
        .find(|folder| folder.is_dir());
    if found.is_none() {
        skip::not_run(
            "tests of carried agents",
            "no agent is packed; `cargo xtask agent` does it",
        );
    }
    found
}

/// The programs under test in a folder that holds these agents as well.
pub fn install(agents: &Path) -> TempDir {
    // in the target folder, since links do not cross file systems
    let folder = TempDir::new_in(binaries::folder()).expect("the target folder can be written");
    for name in ["kinject", "kinject-relay", "libkinject_preload.so"] {
        fs::hard_link(binaries::path(name), folder.path().join(name)).expect("the target folder takes links");
    }
    symlink(agents, folder.path().join("agents")).expect("the target folder takes links");
    folder
}
