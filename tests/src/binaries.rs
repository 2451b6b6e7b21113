//! The programs under test, as `cargo build` leaves them beside each other.

use std::env;
use std::path::PathBuf;

use crate::carried;

/// The folder that cargo builds into for the profile of this test.
pub fn folder() -> PathBuf {
    let this = env::current_exe().expect("a test knows its own file");
    // TARGET/PROFILE/deps/TEST, TARGET/PROFILE/PROGRAM
    let folder = this.parent().expect("a file is in a folder");
    let above = folder.parent().filter(|_| folder.ends_with("deps"));
    above.unwrap_or(folder).to_owned()
}

/// The path of one of them, which must have been built.
pub fn path(name: &str) -> PathBuf {
    let path = folder().join(name);
    assert!(
        path.is_file(),
        "{} is not built: run `cargo build`, with --release if the tests have it",
        path.display()
    );
    path
}

/// The path of `kinject`, after a check that relay and library are beside it: of the one that carries agents, if
/// [`carried::VARIABLE`] says so.
pub fn kinject() -> PathBuf {
    if carried::is_default() {
        let kinject = carried::kinject();
        return kinject
            .unwrap_or_else(|| panic!("{} is set: run `cargo xtask agent`", carried::VARIABLE))
            .to_owned();
    }
    for beside in ["kinject-relay", "libkinject_preload.so"] {
        path(beside);
    }
    path("kinject")
}

/// The one executable that holds all parts of kinject; none where `cargo xtask dist --debug` has not built it.
pub fn single_file() -> Option<PathBuf> {
    let path = folder().join("single-file/kinject");
    path.is_file().then_some(path)
}
