//! The commit that this clone is at.

use std::process::Command;

use crate::{process, workspace};

/// Its hash, with `-dirty` where files differ from it; none outside of a clone, or without git.
pub(crate) fn of_workspace() -> Option<String> {
    let commit = git(&["rev-parse", "HEAD"])?;
    let is_dirty = git(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty());
    Some(match is_dirty {
        true => format!("{commit}-dirty"),
        false => commit,
    })
}

/// When it was made, in seconds since 1970.
pub(crate) fn time() -> Option<u64> {
    git(&["log", "-1", "--format=%ct"])?.parse().ok()
}

fn git(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.current_dir(workspace::root()).args(arguments);
    process::output(&mut command)
        .ok()
        .map(|text| text.trim().to_owned())
}
