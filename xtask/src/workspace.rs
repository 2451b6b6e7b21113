//! Where things are in this clone of the repository.

use std::env;
use std::path::{Path, PathBuf};

/// The version that every crate of the workspace has.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The top folder of the clone.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Cargo's output folder, which also holds what the other tools build.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}
