//! dlopen(3) and dlmopen(3), without `RTLD_DEEPBIND`.
//!
//! A library that is opened with the flag finds its functions in itself and in what it depends on first, so in libc
//! before it finds ours, and would leave the session (PHP opens its extensions so). In a session the flag is taken away;
//! the library then finds its functions in the order that every other library has.
//!
//! What dlmopen opens in another namespace has a libc of its own there, and nothing of ours: glibc makes no library of such
//! a namespace one that others find first. The user is told of it, as of a program that runs outside of the session.
//!
//! libc looks for the file and chooses the namespace by who calls, which it sees from the return address. So both
//! continue there by a jump: the program's own return address stays where it is.
#![cfg(not(test))]

use crate::exec::tell_of_library;
use crate::real;
use crate::session::Session;
use libc::{c_char, c_int, c_long};

/// How a call continues, as two registers take it.
#[repr(C)]
struct Continuation {
    /// libc's function, or 0.
    native: usize,
    flags: usize,
}

/// The namespace of the program.
const LM_ID_BASE: c_long = 0;

/// The flags for a library of the program's own namespace.
fn shallow(flags: c_int) -> c_int {
    let is_deep = flags & libc::RTLD_DEEPBIND != 0;
    match is_deep && Session::current().is_some() {
        true => flags & !libc::RTLD_DEEPBIND,
        false => flags,
    }
}

extern "C" fn dlopen_continuation(flags: c_int) -> Continuation {
    Continuation {
        native: real::dlopen.get().map_or(0, |native| native as usize),
        flags: shallow(flags) as usize,
    }
}

extern "C" fn dlmopen_continuation(namespace: c_long, path: *const c_char, flags: c_int) -> Continuation {
    if namespace != LM_ID_BASE && !path.is_null() {
        tell_of_library(path);
    }
    Continuation {
        native: real::dlmopen.get().map_or(0, |native| native as usize),
        flags: if namespace == LM_ID_BASE {
            shallow(flags)
        } else {
            flags
        } as usize,
    }
}

/// Continues in libc; null where libc has no such function.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn dlopen() {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!(
        "push rdi",
        "mov rdi, rsi",
        "call {way}",
        "pop rdi",
        "mov rsi, rdx",
        "test rax, rax",
        "jz 2f",
        "jmp rax",
        "2: ret",
        way = sym dlopen_continuation,
    );
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!(
        "stp x29, x30, [sp, #-32]!",
        "mov x29, sp",
        "str x0, [sp, #16]",
        "mov x0, x1",
        "bl {way}",
        "mov x16, x0",
        "ldr x0, [sp, #16]",
        "ldp x29, x30, [sp], #32",
        "cbz x16, 2f",
        "br x16",
        "2: mov x0, #0",
        "ret",
        way = sym dlopen_continuation,
    );
}

/// Continues in libc; null where libc has no such function.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn dlmopen() {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!(
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {way}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "test rax, rax",
        "jz 2f",
        "jmp rax",
        "2: ret",
        way = sym dlmopen_continuation,
    );
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!(
        "stp x29, x30, [sp, #-32]!",
        "mov x29, sp",
        "stp x0, x1, [sp, #16]",
        "bl {way}",
        "mov x16, x0",
        "mov x2, x1",
        "ldp x0, x1, [sp, #16]",
        "ldp x29, x30, [sp], #32",
        "cbz x16, 2f",
        "br x16",
        "2: mov x0, #0",
        "ret",
        way = sym dlmopen_continuation,
    );
}
