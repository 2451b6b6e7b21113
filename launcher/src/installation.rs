//! Where kinject's own files are installed.

use crate::exit::Failure;
use std::path::{Path, PathBuf};

/// The folder of the running `kinject`: the relay is beside it, the library near it.
pub(crate) fn folder() -> Result<PathBuf, Failure> {
    let executable = std::env::current_exe()
        .map_err(|error| Failure::own(format!("cannot find kinject's own file: {error}"), "mount /proc"))?;
    Ok(executable.parent().unwrap_or(Path::new("/")).to_owned())
}
