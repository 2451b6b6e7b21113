//! Copies of programs that tests run.

use std::path::Path;
use std::process::Command;

/// Copies a program by another process. A child that another test has forked but not yet executed would inherit this
/// process's descriptor for writing, and the kernel does not execute a file that is open for writing (execve(2),
/// `ETXTBSY`).
///
/// # Panics
///
/// If it cannot be copied.
pub fn copy(program: impl AsRef<Path>, to: impl AsRef<Path>) {
    let (program, to) = (program.as_ref(), to.as_ref());
    let copied = Command::new("cp").arg(program).arg(to).status();
    assert!(
        copied.is_ok_and(|status| status.success()),
        "cannot copy {} to {}",
        program.display(),
        to.display()
    );
}
