//! `export` commands, for any POSIX shell: in single quotes every byte stands for itself.

use super::{NAME, Reason, is_name};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// What shells keep for themselves: bash does not let them be set, and zsh changes the process's user at some.
const OF_SHELLS: [&str; 9] = [
    "UID",
    "EUID",
    "GID",
    "EGID",
    "PPID",
    "SHELLOPTS",
    "BASHOPTS",
    "BASH_VERSINFO",
    "USERNAME",
];

pub(super) fn line(name: &OsStr, value: &OsStr) -> Result<Vec<u8>, Reason> {
    if !is_name(name, b"") {
        return Err(NAME);
    }
    if OF_SHELLS.iter().any(|own| name == *own) {
        return Err("a shell's own variable");
    }
    let mut line = [b"export ", name.as_bytes(), b"='"].concat();
    for byte in value.as_bytes() {
        match byte {
            b'\'' => line.extend(br"'\''"),
            byte => line.push(*byte),
        }
    }
    line.extend(b"'\n");
    Ok(line)
}
