//! Copies of programs that tests run.

use std::path::Path;
use std::process::Command;

/// Copies a program, by another process: the child of another test that has not begun its program yet would keep this
/// one's file open for writing, and the kernel runs no such file (execve(2), `ETXTBSY`).
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
