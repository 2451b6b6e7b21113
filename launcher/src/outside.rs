//! Leaves the session that kinject itself was started in.
//!
//! The library in each program of a session restores the session's variables in the environment of each child. It does
//! not where `KINJECT_SOCKET` is empty, which marks a child that is to leave the session. So a kinject that runs in a
//! session executes its own file again with such an environment and without the library; everything that this process
//! starts is outside, as if there were no session. `kinject outside` starts a command there, every other kinject a
//! session of its own. That environment is this machine's own: without what the session took from a workload.

use crate::exit::Failure;
use crate::workload_environment::Variables;
use crate::workload_environment::difference;
use crate::{inherited, program, shell};
use kinject_protocol::environment::{KEPT, LD_PRELOAD, LIBRARY, SOCKET, TARGET};
use std::convert::Infallible;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Leaves the session that this process was started in, by becoming another process of the same file; returns where
/// there is none.
pub(crate) fn leave_session() -> Result<(), Failure> {
    let Some(socket) = env::var_os(SOCKET).filter(|socket| !socket.is_empty()) else {
        return Ok(());
    };
    let cannot = |error: std::io::Error| {
        Failure::own(
            format!("cannot leave the session that kinject was started in: {error}"),
            "check that /proc is mounted and kinject's file still where it was",
        )
    };
    let file = env::current_exe().map_err(cannot)?;
    let mut command = Command::new(file);
    let mut arguments = env::args_os();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env(SOCKET, "");
    set_preload(&mut command);
    restore_environment(&mut command, Path::new(&socket))?;
    Err(cannot(become_it(&mut command)))
}

/// Runs a command outside of every session; returns only if that cannot be done.
pub(crate) fn run(command: &[OsString]) -> Result<Infallible, Failure> {
    let (name, arguments) = command
        .split_first()
        .ok_or_else(|| Failure::own("no program given", "write `kinject outside -- COMMAND`"))?;
    program::find(name)?;
    let mut command = Command::new(name);
    command.args(arguments);
    set_preload(&mut command);
    set_prompt(&mut command);
    for variable in KEPT {
        command.env_remove(variable);
    }
    Err(program::failure(name, &become_it(&mut command)))
}

fn become_it(command: &mut Command) -> std::io::Error {
    // SAFETY: `restore` makes system calls and touches no memory but its own stack
    unsafe { command.pre_exec(inherited::restore) };
    command.exec()
}

/// Gives back what this machine's environment was before the session.
fn restore_environment(command: &mut Command, socket: &Path) -> Result<(), Failure> {
    let difference = difference::read(socket).map_err(|error| {
        Failure::own(
            format!("cannot read what this machine's environment was before the session: {error}"),
            "run the command in a terminal outside of the session",
        )
    })?;
    let current: Variables = env::vars_os().collect();
    for (name, value) in difference::restoration(&current, &difference) {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ok(())
}

/// Leaves what else is preloaded.
fn set_preload(command: &mut Command) {
    let (Some(preload), Some(library)) = (env::var_os(LD_PRELOAD), env::var_os(LIBRARY)) else {
        return;
    };
    match without(&preload, &library) {
        Some(others) => command.env(LD_PRELOAD, others),
        None => command.env_remove(LD_PRELOAD),
    };
}

/// The list of libraries (ld.so(8)) without this one; none if nothing is left.
fn without(list: &OsStr, library: &OsStr) -> Option<OsString> {
    let names = list.as_bytes().split(|byte| matches!(byte, b':' | b' '));
    let others: Vec<&[u8]> = names
        .filter(|name| !name.is_empty() && *name != library.as_bytes())
        .collect();
    (!others.is_empty()).then(|| OsString::from_vec(others.join(&b':')))
}

/// Removes the session's mark from a prompt in the environment.
fn set_prompt(command: &mut Command) {
    let (Ok(prompt), Ok(target)) = (env::var("PS1"), env::var(TARGET)) else {
        return;
    };
    match shell::unmarked(&prompt, &target) {
        Some("") => command.env_remove("PS1"),
        Some(plain) => command.env("PS1", plain),
        None => return,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_preloaded_libraries_keep_their_order() {
        let library = OsStr::new("/lib/k.so");
        let others = |list: &str| without(OsStr::new(list), library);
        assert_eq!(others("/lib/k.so"), None);
        assert_eq!(others("a.so:/lib/k.so"), Some("a.so".into()));
        assert_eq!(others("a.so /lib/k.so:b.so:/lib/k.so"), Some("a.so:b.so".into()));
        assert_eq!(others("/lib/k.so.1"), Some("/lib/k.so.1".into()));
        assert_eq!(others(""), None);
    }
}
