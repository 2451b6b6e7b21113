//! The entry point: the kernel jumps to `_start`, with the arguments and the environment on the stack.

use alloc::vec::Vec;
use core::arch::naked_asm;
use core::ffi::{CStr, c_char};

/// The ELF entry point. It passes the initial stack pointer to [`start`].
///
/// # Safety
///
/// Only the kernel calls it.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn _start() -> ! {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {start}", "ud2", start = sym start);
    #[cfg(target_arch = "aarch64")]
    naked_asm!("mov x29, xzr", "mov x30, xzr", "mov x0, sp", "bl {start}", "brk #1", start = sym start);
}

/// Reads the arguments and the environment from the stack, runs the loader with them, and exits when that fails.
///
/// # Safety
///
/// `stack` is the initial stack pointer. The kernel has put the count of arguments there, then pointers to the
/// arguments and a null pointer, and then pointers to the environment and a null pointer.
unsafe extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: the count is at the stack pointer
    let count = unsafe { *stack };
    // SAFETY: the pointers to the arguments follow
    let arguments = unsafe { stack.add(1) }.cast::<*const c_char>();
    // SAFETY: the environment follows the null pointer after the arguments
    let environment = unsafe { arguments.add(count + 1) };
    let words: Vec<&CStr> = (1..count)
        .map(|position| {
            // SAFETY: the position is below the count of arguments
            let word = unsafe { *arguments.add(position) };
            // SAFETY: each pointer leads to a string that ends with a zero byte and that nothing changes
            unsafe { CStr::from_ptr(word) }
        })
        .collect();
    // SAFETY: a null pointer ends the environment
    let failure = unsafe { kinject_loader::run(&words, environment) };
    crate::fail(&failure, failure.status())
}
