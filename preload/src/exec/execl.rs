//! The members of the family with a variable number of arguments.
//!
//! Rust can neither define a variadic function nor export one of C from its library. So the library exports jumps: the
//! function in `c/execl.c` gets all registers and the stack as the program left them.
#![cfg(not(test))]

use super::call::{execv_in_session, execve_in_session, execvp_in_session};
use libc::{c_char, c_int};

unsafe extern "C" {
    fn kinject_execl(path: *const c_char, first: *const c_char, ...) -> c_int;
    fn kinject_execlp(file: *const c_char, first: *const c_char, ...) -> c_int;
    fn kinject_execle(path: *const c_char, first: *const c_char, ...) -> c_int;
}

macro_rules! jump {
    ($($name:ident => $target:ident;)*) => {
        $(
            /// Continues in C, with all registers and the stack unchanged.
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name() {
                #[cfg(target_arch = "x86_64")]
                core::arch::naked_asm!("jmp {}", sym $target);
                #[cfg(target_arch = "aarch64")]
                core::arch::naked_asm!("b {}", sym $target);
            }
        )*
    };
}

jump! {
    execl => kinject_execl;
    execlp => kinject_execlp;
    execle => kinject_execle;
}

// the functions that C calls: hidden symbols, which `#[no_mangle]` cannot define
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".text",
    ".globl kinject_execv", ".hidden kinject_execv", "kinject_execv: jmp {execv}",
    ".globl kinject_execvp", ".hidden kinject_execvp", "kinject_execvp: jmp {execvp}",
    ".globl kinject_execve", ".hidden kinject_execve", "kinject_execve: jmp {execve}",
    execv = sym execv_in_session, execvp = sym execvp_in_session, execve = sym execve_in_session,
);
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".text", ".balign 4",
    ".globl kinject_execv", ".hidden kinject_execv", "kinject_execv: b {execv}",
    ".globl kinject_execvp", ".hidden kinject_execvp", "kinject_execvp: b {execvp}",
    ".globl kinject_execve", ".hidden kinject_execve", "kinject_execve: b {execve}",
    execv = sym execv_in_session, execvp = sym execvp_in_session, execve = sym execve_in_session,
);
