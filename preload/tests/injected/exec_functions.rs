//! The functions of libc that start a program.

/// A function by which `exec_family` and `start` of `c-tests` start a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExecFunction {
    /// The argument of both programs that chooses it.
    pub(crate) name: &'static str,
    /// Whether it takes an environment.
    pub(crate) takes_environment: bool,
}

/// Every function; `vfork` stands for execve(2) in the child of a vfork(2).
pub(crate) const EXEC_FUNCTIONS: [ExecFunction; 12] = [
    with_environment("execve"),
    without_environment("execv"),
    without_environment("execvp"),
    with_environment("execvpe"),
    without_environment("execl"),
    without_environment("execlp"),
    with_environment("execle"),
    with_environment("fexecve"),
    with_environment("execveat"),
    with_environment("posix_spawn"),
    with_environment("posix_spawnp"),
    with_environment("vfork"),
];

const fn with_environment(name: &'static str) -> ExecFunction {
    ExecFunction {
        name,
        takes_environment: true,
    }
}

const fn without_environment(name: &'static str) -> ExecFunction {
    ExecFunction {
        name,
        takes_environment: false,
    }
}

/// The names of all functions.
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    EXEC_FUNCTIONS.iter().map(|function| function.name)
}

/// The names of the functions that take an environment.
pub(crate) fn that_take_environment() -> impl Iterator<Item = &'static str> {
    let functions = EXEC_FUNCTIONS
        .iter()
        .filter(|function| function.takes_environment);
    functions.map(|function| function.name)
}
