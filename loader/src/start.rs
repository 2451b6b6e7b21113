//! The way in: the kernel jumps to `_start` with the arguments and the environment on the stack.

use alloc::vec::Vec;
use core::arch::naked_asm;
use core::ffi::{CStr, c_char};

/// Where the kernel starts the program: it hands the stack as it found it to [`start`].
///
/// # Safety
///
/// For the kernel alone to call.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn _start() -> ! {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {start}", "ud2", start = sym start);
    #[cfg(target_arch = "aarch64")]
    naked_asm!("mov x29, xzr", "mov x30, xzr", "mov x0, sp", "bl {start}", "brk #1", start = sym start);
}

/// # Safety
///
/// `stack` is where the kernel put the count of arguments, pointers to them and a null pointer, and the same for the
/// environment without a count.
unsafe extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: the count is there
    let count = unsafe { *stack };
    // SAFETY: the pointers to the arguments follow
    let arguments = unsafe { stack.add(1) }.cast::<*const c_char>();
    // SAFETY: a null pointer follows them, and then the environment
    let environment = unsafe { arguments.add(count + 1) };
    let words: Vec<&CStr> = (1..count)
        .map(|position| {
            // SAFETY: there are so many pointers
            let word = unsafe { *arguments.add(position) };
            // SAFETY: each points to a string that ends with a zero and is not written to
            unsafe { CStr::from_ptr(word) }
        })
        .collect();
    // SAFETY: a null pointer ends the environment
    let failure = unsafe { kinject_loader::run(&words, environment) };
    crate::end(&failure, failure.status())
}
