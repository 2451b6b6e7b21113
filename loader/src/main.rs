//! The program `kinject-loader`. It has no C library and no standard library, so these modules replace what it needs of
//! them: [`start`] the entry point, [`heap`] the allocator, [`memory`] the functions of string.h. [`start`] calls
//! [`kinject_loader::run`].

#![no_std]
#![no_main]

extern crate alloc;

mod heap;
mod memory;
mod start;

use alloc::format;
use core::panic::PanicInfo;
use syscalls::Sysno;

/// The exit status after a panic: the one that shells report for a process that SIGABRT ended.
const PANIC_STATUS: u8 = 134;

/// Writes an error message to the standard error, and exits.
fn fail(error: impl core::fmt::Display, status: u8) -> ! {
    let line = format!("kinject-loader: error: {error}\n");
    // SAFETY: nothing in this process closes descriptor 2
    let stderr = unsafe { rustix::fd::BorrowedFd::borrow_raw(2) };
    // if it cannot be written, the exit status alone remains
    let _lost = rustix::io::write(stderr, line.as_bytes()).is_err();
    exit(status)
}

fn exit(status: u8) -> ! {
    loop {
        // SAFETY: the call takes a number, and does not return
        let _returned = unsafe { syscalls::syscall1(Sysno::exit_group, usize::from(status)) };
    }
}

#[panic_handler]
fn on_panic(panic: &PanicInfo<'_>) -> ! {
    fail(panic, PANIC_STATUS)
}
