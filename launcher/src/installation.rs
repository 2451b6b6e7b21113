//! Where kinject's own files are installed.

use crate::exit::Failure;
use std::path::{Path, PathBuf};

/// The executable of this process, whatever has come to its path since it was started.
const OWN_FILE: &str = "/proc/self/exe";

/// kinject's executable, to be started or read.
pub(crate) fn own_file() -> Result<PathBuf, Failure> {
    match Path::new(OWN_FILE).try_exists() {
        Ok(true) => Ok(OWN_FILE.into()),
        Ok(false) => Err(not_found("there is no /proc/self/exe")),
        Err(error) => Err(not_found(error)),
    }
}

/// Where kinject's executable was when it was started.
pub(crate) fn path() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(not_found)
}

/// The folder of the running `kinject`: in a build from the tree the relay is beside it, the library near it.
pub(crate) fn folder() -> Result<PathBuf, Failure> {
    Ok(path()?.parent().unwrap_or(Path::new("/")).to_owned())
}

fn not_found(why: impl std::fmt::Display) -> Failure {
    Failure::own(format!("cannot find kinject's own file: {why}"), "mount /proc")
}
