//! A folder to which no other user can write, also not to one around it: kinject unpacks its library into no other.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tempfile::TempDir;

/// Makes such a folder: in `preferred` if that is one itself, otherwise in `/var/lib` for root, and in the home of
/// another user. Root's can be entered by all, since tests of root's start programs as other users.
///
/// # Panics
///
/// If there is none.
pub fn private_folder(preferred: &Path) -> TempDir {
    [
        Some(preferred.to_owned()),
        Some("/var/lib".into()),
        std::env::home_dir(),
    ]
    .into_iter()
    .flatten()
    .filter_map(|folder| folder.canonicalize().ok())
    .filter(|folder| folder.ancestors().all(is_private))
    .find_map(|folder| TempDir::new_in(folder).ok())
    .expect("a folder to which no other user can write")
}

fn is_private(folder: &Path) -> bool {
    let user = rustix::process::geteuid();
    let is_safe = |found: Metadata| {
        let is_entered = !user.is_root() || found.mode() & 0o001 != 0;
        [0, user.as_raw()].contains(&found.uid()) && found.mode() & 0o022 == 0 && is_entered
    };
    fs::metadata(folder).is_ok_and(is_safe)
}
