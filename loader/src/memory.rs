//! The functions of string.h that compiled code calls by itself. They consist of instructions of the processor, since the
//! compiler would make a call to the function itself of a loop that copies.

use core::arch::asm;
use core::ffi::c_int;

/// # Safety
///
/// `length` bytes can be read at `from` and written at `to`, and do not overlap.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: the caller's promise
    unsafe { copy_forward(to, from, length) };
    to
}

/// # Safety
///
/// `length` bytes can be read at `from` and written at `to`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // a target inside of the source is overwritten before it is read, unless from the end
    match (to.addr().wrapping_sub(from.addr())) < length {
        // SAFETY: the caller's promise
        true => unsafe { copy_backward(to, from, length) },
        // SAFETY: the caller's promise
        false => unsafe { copy_forward(to, from, length) },
    }
    to
}

/// # Safety
///
/// `length` bytes can be written at `to`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: c_int, length: usize) -> *mut u8 {
    // SAFETY: the caller's promise
    unsafe { fill(to, byte as u8, length) };
    to
}

/// # Safety
///
/// `length` bytes can be read at `one` and at `other`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, length: usize) -> c_int {
    let mut position = 0;
    while position < length {
        // SAFETY: the position is within what can be read; a volatile read makes no call of the loop
        let left = unsafe { one.add(position).read_volatile() };
        // SAFETY: as above
        let right = unsafe { other.add(position).read_volatile() };
        if left != right {
            return c_int::from(left) - c_int::from(right);
        }
        position += 1;
    }
    0
}

/// # Safety
///
/// As for [`memcmp`].
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, length: usize) -> c_int {
    // SAFETY: the caller's promise
    unsafe { memcmp(one, other, length) }
}

/// # Safety
///
/// `string` points to bytes that end with a zero.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(string: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: no byte behind the zero is read; a volatile read makes no call of the loop
    while unsafe { string.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}

/// # Safety
///
/// As for [`memcpy`].
#[cfg(target_arch = "x86_64")]
unsafe fn copy_forward(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: the caller's promise; the direction flag is clear, as between all functions
    unsafe {
        asm!("rep movsb", inout("rcx") length => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
}

/// # Safety
///
/// As for [`memmove`].
#[cfg(target_arch = "x86_64")]
unsafe fn copy_backward(to: *mut u8, from: *const u8, length: usize) {
    let last = length.wrapping_sub(1);
    let (to, from) = (to.wrapping_add(last), from.wrapping_add(last));
    // SAFETY: the caller's promise; the direction flag is clear again after it
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") length => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack));
    }
}

/// # Safety
///
/// As for [`memset`].
#[cfg(target_arch = "x86_64")]
unsafe fn fill(to: *mut u8, byte: u8, length: usize) {
    // SAFETY: the caller's promise; the direction flag is clear, as between all functions
    unsafe {
        asm!("rep stosb", inout("rcx") length => _, inout("rdi") to => _, in("al") byte,
            options(nostack, preserves_flags));
    }
}

/// # Safety
///
/// As for [`memcpy`].
#[cfg(target_arch = "aarch64")]
unsafe fn copy_forward(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: the caller's promise
    unsafe {
        asm!(
            // sixteen bytes at once, and then the rest
            "2:", "cmp {length}, #16", "b.lo 3f",
            "ldp {one}, {other}, [{from}], #16", "stp {one}, {other}, [{to}], #16",
            "sub {length}, {length}, #16", "b 2b",
            "3:", "cbz {length}, 4f",
            "ldrb {one:w}, [{from}], #1", "strb {one:w}, [{to}], #1",
            "sub {length}, {length}, #1", "b 3b",
            "4:",
            length = inout(reg) length => _, to = inout(reg) to => _, from = inout(reg) from => _,
            one = out(reg) _, other = out(reg) _, options(nostack),
        );
    }
}

/// # Safety
///
/// As for [`memmove`].
#[cfg(target_arch = "aarch64")]
unsafe fn copy_backward(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: the caller's promise
    unsafe {
        asm!(
            "2:", "cbz {length}, 3f", "sub {length}, {length}, #1",
            "ldrb {byte:w}, [{from}, {length}]", "strb {byte:w}, [{to}, {length}]", "b 2b",
            "3:",
            length = inout(reg) length => _, to = in(reg) to, from = in(reg) from, byte = out(reg) _,
            options(nostack),
        );
    }
}

/// # Safety
///
/// As for [`memset`].
#[cfg(target_arch = "aarch64")]
unsafe fn fill(to: *mut u8, byte: u8, length: usize) {
    // SAFETY: the caller's promise
    unsafe {
        asm!(
            "2:", "cbz {length}, 3f", "sub {length}, {length}, #1", "strb {byte:w}, [{to}, {length}]", "b 2b",
            "3:",
            length = inout(reg) length => _, to = in(reg) to, byte = in(reg) u32::from(byte), options(nostack),
        );
    }
}
