//! AddressSanitizer's run time as a shared library (`-fsanitize=address` of GCC, `-shared-libasan` of clang).
//!
//! It refuses to start where another library was loaded before it, since it wants to intercept what that one calls. The
//! launcher and the exec hooks see in a program's file that it has one, and have it preloaded before ours. A program that
//! something outside of the session started with our environment (the `go` command, for one) finds ours alone in
//! `LD_PRELOAD`. Ours calls nothing of libc's allocator before the program's first line, so it may come first. The run time
//! takes its options from this function before it looks, if the program does not define it itself; `ASAN_OPTIONS` comes
//! after it.
#![cfg(not(test))]

use core::ffi::c_char;

/// The options, as a C string: sanitizers' documentation, "Run-time flags".
#[unsafe(no_mangle)]
extern "C" fn __asan_default_options() -> *const c_char {
    c"verify_asan_link_order=0".as_ptr()
}
