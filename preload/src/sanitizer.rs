//! AddressSanitizer's run time as a shared library (`-fsanitize=address` of GCC, `-shared-libasan` of clang).
//!
//! It refuses to start where another library was loaded before it, since it wants to intercept what that one calls. Ours
//! is loaded before it, and calls nothing of libc's allocator before the program's first line, so it may. The run time takes
//! its options from this function, which a program may define to set its own (`ASAN_OPTIONS` comes after it), before
//! it looks.
#![cfg(not(test))]

use core::ffi::c_char;

/// The options, as a C string: sanitizers' documentation, "Run-time flags".
#[unsafe(no_mangle)]
extern "C" fn __asan_default_options() -> *const c_char {
    c"verify_asan_link_order=0".as_ptr()
}
