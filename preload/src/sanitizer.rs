//! AddressSanitizer's run time as a shared library (`-fsanitize=address` of GCC, `-shared-libasan` of clang).
//!
//! It refuses to start if another library was loaded before it, since it could not intercept that library's calls.
//! The launcher and the exec hooks detect it in the program's file, and preload it before our library. A program that
//! a process without hooks started with our environment (the `go` command, for one) has our library alone in
//! `LD_PRELOAD`. Ours does not call libc's allocator before `main`, so it may come first. The run time calls this
//! function for its options before the check, unless the program defines it; `ASAN_OPTIONS` overrides them.
#![cfg(not(test))]

use core::ffi::c_char;

/// The options, as a C string: sanitizers' documentation, "Run-time flags".
#[unsafe(no_mangle)]
extern "C" fn __asan_default_options() -> *const c_char {
    c"verify_asan_link_order=0".as_ptr()
}
