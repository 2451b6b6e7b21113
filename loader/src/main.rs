//! The program `kinject-loader`: what a C library and the standard library would do for it, and then
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

/// The status of a program that SIGABRT ended, as shells show it.
const PANICKED: u8 = 134;

/// Ends the process, and says why.
fn end(why: impl core::fmt::Display, status: u8) -> ! {
    let line = format!("kinject-loader: error: {why}\n");
    // SAFETY: descriptor 2 belongs to nobody else in this process, and is not closed
    let stderr = unsafe { rustix::fd::BorrowedFd::borrow_raw(2) };
    // without a standard error nobody hears it
    let _unheard = rustix::io::write(stderr, line.as_bytes()).is_err();
    exit(status)
}

fn exit(status: u8) -> ! {
    loop {
        // SAFETY: the call takes a number, and does not return
        let _returned = unsafe { syscalls::syscall1(Sysno::exit_group, usize::from(status)) };
    }
}

#[panic_handler]
fn panicked(panic: &PanicInfo<'_>) -> ! {
    end(panic, PANICKED)
}
