//! The exec family: execve(2), exec(3), fexecve(3), execveat(2) and posix_spawn(3).
//!
//! A program that starts another one with an environment of its own making would take it out of the session without
//! intent. So each hook checks the environment that it gets, and if the session's variables or our library in
//! `LD_PRELOAD` are missing, starts the program with a copy that has them ([`plan`]). A complete environment, the
//! usual one, is passed on unchanged.
//!
//! Before that each hook inspects the program's file ([`uninjectable`]): if the library will not be loaded into it,
//! the user is warned, or the program is not started. For a program with a sanitizer the sanitizer's runtime is
//! preloaded, too.
//!
//! A program of the workload's own files is not started, unless the user allowed it ([`crate::paths`]).
//!
//! All of this may run in the child of a vfork(2), in the parent's memory: it writes to the stack alone, apart from the
//! addresses of libc's functions, which are the same in both, and a thread's buffer for large environments
//! ([`environment_buffer`]).

mod call;
mod copy;
mod environment_buffer;
mod execl;
mod file;
mod plan;
mod runtime;
mod shell;
mod uninjectable;

pub(crate) use call::{execve_in_session, execveat_in_session};
pub(crate) use runtime::remove_runtime;
#[cfg(not(test))]
pub(crate) use uninjectable::report_library;
pub(crate) use uninjectable::report_remote;
#[cfg(all(target_arch = "x86_64", not(test)))]
pub(crate) use uninjectable::report_this_program;
