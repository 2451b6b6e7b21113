//! The preloaded library: functions that are called instead of libc's.
//!
//! The dynamic linker loads it before libc (`LD_PRELOAD`, ld.so(8)), so that programs call the functions that it
//! exports. Each hook decides whether a call is plainly local, and asks the session's relay about the others. All of
//! them keep these rules:
//!
//! - Without `KINJECT_SOCKET` in the environment every hook calls libc's function, with the program's arguments.
//! - No thread, no lock, no descriptor between calls, no thread-local variable but that of Go's threads (`go`). State
//!   is what every thread computes alike (`real`, `session`), or a cache (`datagram::cache`). So hooks run before our
//!   constructor and after our destructor, in forked children of threaded programs, and in signal handlers as far as
//!   libc's functions do.
//! - Nothing here can panic: no panic machinery is linked in, which `cargo xtask exports` checks. If in doubt a hook
//!   fails with an honest error; it never sends the program's data to another network.
//! - `errno` changes only where a function fails.
//!
//! A hook has five steps: a guard, the conversion of the raw arguments, a decision, an action, and the translation to
//! return value and errno. Decisions are functions without side effects that return an enum, most of them called
//! `decide` or `decide_by_…`. Facts that cost a system call reach them by closures or traits (`socket::SocketFacts`), so that unit
//! tests can replace the kernel.
//!
//! In reading order: `connect`, then `sockopt`, `shutdown`, `bind`, `peer`, `transfer`, `send`, `receive` and
//! `datagram` for sockets, `lookup` for names, `resolver` for DNS messages, `files` for programs with their own DNS
//! client, `paths` and `hostname` for standing in for a workload, `exec` for children, `syscall` and `go` for system calls by number,
//! `dlopen` and `dlsym` for the dynamic linker. They use `control`, the conversation with the relay.
//!
//! A hook is declared with `hook!`, and its body is one call of an `extern "C"` function: redhook would handle a
//! panic by calling libc's function, which would use the local network.

#![cfg_attr(
    test,
    allow(dead_code, reason = "unit tests export no hooks, which use the rest")
)]

#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("the library is for programs of glibc on x86_64 and aarch64");

/// Exports a function that is called instead of libc's. Unit tests, which call libc themselves, export none.
macro_rules! hook {
    ($($declaration:tt)*) => {
        #[cfg(not(test))]
        redhook::hook! { $($declaration)* }
    };
}

#[macro_use]
mod real;

mod bind;
mod connect;
mod datagram;
mod dlopen;
mod dlsym;
mod exec;
mod files;
#[cfg(all(target_arch = "x86_64", not(test)))]
mod go;
mod hostname;
mod lookup;
mod paths;
mod peer;
mod receive;
mod remembered_failure;
mod resolver;
mod sanitizer;
mod send;
mod shutdown;
mod sockopt;
mod syscall;
mod tcp_connect;
mod transfer;

mod address;
mod control;
mod environment;
mod errno;
mod failure;
mod link_map;
mod memory;
mod session;
mod socket;
mod sys;
mod thread_key;
mod user;
