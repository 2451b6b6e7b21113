//! How a session's programs differ from this machine in their environment, for those that leave the session.
//!
//! `kinject outside` and a kinject within a session give the machine's own environment back: a proxy or a database that
//! the workload's variables name is not to be reached from outside. What the environment was before stands in a file of
//! the session's private folder, a line for each variable that differs. (A variable could not hold it: programs would
//! see what `--unset` removed, and the kernel takes no string above 128 KiB.)
//!
//! ```text
//! HASH NAME          the session set it; this machine has none
//! HASH NAME=VALUE    the session set it; this machine has this value
//! - NAME=VALUE       the session removed it; this machine has this value
//! ```
//!
//! HASH is that of the value which the session set. A variable that has another value by then was changed by a program
//! or the user, and stays.

use super::Variables;
use sha2::{Digest, Sha256};
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file's name in the session's folder.
const FILE_NAME: &str = "environment";

/// In place of a hash: the variable is not set.
const REMOVED: &[u8] = b"-";

/// Writes the difference of two environments into the session's folder.
pub(crate) fn write(folder: &Path, machine: &Variables, program: &Variables) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(folder.join(FILE_NAME))?;
    file.write_all(&difference(machine, program))
}

/// Reads the difference from the folder of a session's control socket; empty if the session is over, or the folder is
/// not to be seen.
pub(crate) fn read(socket: &Path) -> io::Result<Vec<u8>> {
    match fs::read(socket.with_file_name(FILE_NAME)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

/// The lines; empty if the environments are the same.
fn difference(machine: &Variables, program: &Variables) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for (name, value) in program {
        let own = machine.get(name);
        if own != Some(value) {
            lines.push(line(&hash(value), name, own));
        }
    }
    for (name, own) in machine {
        if !program.contains_key(name) {
            lines.push(line(REMOVED, name, Some(own)));
        }
    }
    lines.join(&b'\n')
}

/// The variables to set, or to remove, so that the environment is this machine's.
pub(crate) fn restoration(current: &Variables, difference: &[u8]) -> Vec<(OsString, Option<OsString>)> {
    difference
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let (hash_or_removed, rest) = split_once(line, b' ')?;
            let (name, own) = match split_once(rest, b'=') {
                Some((name, value)) => (unescaped(name), Some(unescaped(value))),
                None => (unescaped(rest), None),
            };
            let is_unchanged = match current.get(&name) {
                Some(value) => hash(value) == hash_or_removed,
                None => hash_or_removed == REMOVED,
            };
            is_unchanged.then_some((name, own))
        })
        .collect()
}

fn line(hash_or_removed: &[u8], name: &OsStr, own: Option<&OsString>) -> Vec<u8> {
    let mut line = [hash_or_removed, b" ", &escaped(name)].concat();
    if let Some(own) = own {
        line.push(b'=');
        line.extend(escaped(own));
    }
    line
}

fn hash(value: &OsStr) -> Vec<u8> {
    let digest = Sha256::digest(value.as_bytes());
    let hex = digest.iter().take(8).map(|byte| format!("{byte:02x}"));
    hex.collect::<String>().into_bytes()
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|byte| *byte == at)?;
    let (before, after) = text.split_at_checked(position)?;
    Some((before, after.get(1..)?))
}

fn escaped(text: &OsStr) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len());
    for byte in text.as_bytes() {
        match byte {
            b'\n' => escaped.extend(b"\\n"),
            b'\\' => escaped.extend(b"\\\\"),
            byte => escaped.push(*byte),
        }
    }
    escaped
}

fn unescaped(text: &[u8]) -> OsString {
    let mut unescaped = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => unescaped.extend(bytes.next().map(|next| if *next == b'n' { b'\n' } else { *next })),
            byte => unescaped.push(*byte),
        }
    }
    OsString::from_vec(unescaped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::MetadataExt;

    fn apply(current: &mut Variables, difference: &[u8]) {
        for (name, value) in restoration(current, difference) {
            match value {
                Some(value) => current.insert(name, value),
                None => current.remove(&name),
            };
        }
    }

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    #[test]
    fn variable_that_was_changed_in_the_session_keeps_its_value_outside() {
        let machine = variables(&[("A", "here"), ("C", "here")]);
        let program = variables(&[("A", "there"), ("B", "there")]);
        let text = difference(&machine, &program);
        let mut current = variables(&[("A", "mine"), ("B", "there"), ("C", "mine"), ("D", "mine")]);
        apply(&mut current, &text);
        assert_eq!(current, variables(&[("A", "mine"), ("C", "mine"), ("D", "mine")]));
    }

    #[test]
    fn file_in_the_sessions_folder_is_private_and_read_by_the_sockets_path() {
        let folder = tempfile::tempdir().unwrap();
        let machine = variables(&[("SECRET", "here")]);
        write(folder.path(), &machine, &Variables::new()).unwrap();
        let file = folder.path().join(FILE_NAME);
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o7777, 0o600);
        let read_back = read(&folder.path().join("control.sock")).unwrap();
        assert_eq!(
            restoration(&Variables::new(), &read_back),
            [("SECRET".into(), Some("here".into()))]
        );
        assert!(
            write(folder.path(), &machine, &machine).is_err(),
            "it is there already"
        );
        assert_eq!(read(Path::new("/no/such/folder/control.sock")).unwrap(), b"");
    }

    #[test]
    fn malformed_difference_restores_nothing() {
        let current = variables(&[("A", "x")]);
        for text in ["", "\n\n", "A", "- A=y", "0000 A=y", " A=y"] {
            assert_eq!(restoration(&current, text.as_bytes()), [], "{text:?}");
        }
    }

    fn environment() -> impl Strategy<Value = Variables> {
        let text = |pattern| {
            prop::string::bytes_regex(pattern)
                .unwrap()
                .prop_map(OsString::from_vec)
        };
        let name = text(r"(?s-u:[AB\\\n \xff-]{1,2})");
        let value = text(r"(?s-u:[a=\\\n n\xff]{0,4})");
        prop::collection::btree_map(name, value, 0..6)
    }

    proptest! {
        #[test]
        fn machine_environment_is_restored_from_the_programs(machine in environment(), program in environment()) {
            let mut current = program.clone();
            apply(&mut current, &difference(&machine, &program));
            prop_assert_eq!(current, machine);
        }
    }
}
