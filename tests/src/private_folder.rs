//! A folder to which no other user can write, also not to one around it: kinject unpacks its library into no other.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::binaries;

/// Makes such a folder: beside the programs if these lie in one themselves, otherwise in this user's home or, for root,
/// in `/var/lib`.
///
/// # Panics
///
/// If there is none.
pub fn private_folder() -> TempDir {
    [
        Some(binaries::folder()),
        std::env::home_dir(),
        Some(PathBuf::from("/var/lib")),
    ]
    .into_iter()
    .flatten()
    .filter_map(|folder| folder.canonicalize().ok())
    .filter(|folder| folder.ancestors().all(is_private))
    .find_map(|folder| TempDir::new_in(folder).ok())
    .expect("a folder to which no other user can write")
}

fn is_private(folder: &Path) -> bool {
    let user = rustix::process::geteuid().as_raw();
    let is_safe = |found: Metadata| [0, user].contains(&found.uid()) && found.mode() & 0o022 == 0;
    fs::metadata(folder).is_ok_and(is_safe)
}
