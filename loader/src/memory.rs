//! The functions of string.h that the compiler generates calls to. They are written in assembly or with volatile reads,
//! since the compiler would turn a plain loop into a call to the very function.

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
    // if `to` is inside the source, a forward copy would overwrite bytes before it reads them
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
        // SAFETY: the position is within what can be read; the compiler does not turn volatile reads into a call
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
/// `string` points to bytes that end with a zero byte.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(string: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: no byte after the zero byte is read; the compiler does not turn volatile reads into a call
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
            // 16 bytes at a time, and then single bytes
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
