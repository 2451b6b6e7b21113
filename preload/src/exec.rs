//! The exec family: execve(2), exec(3), fexecve(3), execveat(2) and posix_spawn(3).
//!
//! A program that starts another with an environment of its own making takes it out of the session without meaning
//! to. So each of these looks at the environment that it is given, and if the session's variables or our library in
//! `LD_PRELOAD` are missing, starts the program with a copy that has them ([`plan`]). The usual environment, which
//! has them all, is passed on untouched.
//!
//! Before that each looks at the program's file ([`uninjectable`]): of one into which the library will not be loaded the
//! user is told, or it is not started. One that a sanitizer was built into gets the sanitizer's runtime preloaded, too.
//!
//! Everything here may run in the child of a vfork(2), in the parent's memory: only the stack is written, apart from
//! the addresses of libc's functions, which are the same in both, and what a thread keeps for large environments ([`room`]).

mod call;
mod copy;
mod execl;
mod file;
mod plan;
mod room;
mod runtime;
mod shell;
mod uninjectable;

pub(crate) use call::{execve_in_session, execveat_in_session};
pub(crate) use runtime::forget_runtime;
#[cfg(not(test))]
pub(crate) use uninjectable::tell_of_library;
#[cfg(all(target_arch = "x86_64", not(test)))]
pub(crate) use uninjectable::tell_of_this_program;
