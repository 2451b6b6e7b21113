//! The library that stands between a program and libc.
//!
//! The dynamic linker loads it in front of libc (`LD_PRELOAD`, ld.so(8)), and the functions that it exports are called
//! instead of libc's. Each hook decides by itself what is plainly local, and asks the session's relay for the rest.
//! What holds for all of them:
//!
//! - Without `KINJECT_SOCKET` in the environment every hook passes straight through.
//! - No thread, no lock, no descriptor between calls, no thread-local variable but one of Go's threads (`go`), no state but
//!   what is found again in the same way by everyone (`real`, `session`) or may be lost at any time (`datagram::cache`). So
//!   hooks run before our constructor and after our destructor, in forked children of threaded programs, and in signal
//!   handlers as far as libc's functions do.
//! - Nothing here can panic: no panic machinery is linked into a release build, and `cargo xtask exports` sees to it
//!   that it stays so. In doubt a hook fails with an honest error; it never lets the program's data go elsewhere.
//! - `errno` changes only where a function fails.
//!
//! In reading order: `connect`, then `sockopt`, `shutdown`, `bind`, `peer`, `transfer`, `datagram` and `receive` for sockets, `lookup` for names,
//! `resolver` for DNS messages, `files` for what programs read that resolve by themselves, `exec` for children, `syscall` and
//! `go` for whoever makes system calls by number, `dlsym` for whoever asks libc itself for a function. They stand on `control`, the conversation with the relay.
//!
//! A hook is declared with `hook!`, its body one call of a function that is `extern "C"`: redhook would meet a
//! panic by calling libc's function, which for us would be the wrong network.

#![cfg_attr(
    test,
    allow(
        dead_code,
        reason = "unit tests export no hooks, which are what uses the rest"
    )
)]

#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("the library is for programs of glibc on x86_64 and aarch64");

/// Exports a function in front of libc's; in unit tests, which call libc themselves, it does not.
macro_rules! hook {
    ($($declaration:tt)*) => {
        #[cfg(not(test))]
        redhook::hook! { $($declaration)* }
    };
}

mod bind;
mod connect;
mod datagram;
mod dlopen;
mod dlsym;
mod exec;
mod files;
#[cfg(all(target_arch = "x86_64", not(test)))]
mod go;
mod lookup;
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
mod real;
mod session;
mod socket;
mod sys;
mod thread_key;
mod user;
