//! dlopen(3), without `RTLD_DEEPBIND`.
//!
//! A library that is opened with the flag finds its functions in itself and in what it depends on first, so in libc
//! before it finds ours, and would leave the session (PHP opens its extensions so). In a session the flag is taken away;
//! the library then finds its functions in the order that every other library has.
//!
//! libc looks for the file and chooses the namespace by who calls, which it sees from the return address. So this
//! continues there by a jump: the program's own return address stays where it is.
#![cfg(not(test))]

use crate::real;
use crate::session::Session;
use libc::c_int;

/// How a call continues, as two registers take it.
#[repr(C)]
struct Way {
    /// libc's function, or 0.
    native: usize,
    flags: usize,
}

extern "C" fn way(flags: c_int) -> Way {
    let is_deep = flags & libc::RTLD_DEEPBIND != 0;
    let flags = match is_deep && Session::current().is_some() {
        true => flags & !libc::RTLD_DEEPBIND,
        false => flags,
    };
    Way {
        native: real::dlopen.get().map_or(0, |native| native as usize),
        flags: flags as usize,
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
        way = sym way,
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
        way = sym way,
    );
}
