//! The process's own memory: mapped, protected and probed.

#[cfg(target_arch = "x86_64")]
use super::Descriptor;
use super::call;
use crate::errno::Errno;
use libc::{c_int, c_void, iovec};

/// Has the kernel read eight bytes, those around `address` that a signal set would hold, wherever that is. Always an
/// error: `EFAULT` where they cannot be read, and else `EINVAL`, since rt_sigprocmask(2) knows no such operation.
pub(crate) fn read_signal_set(address: *const c_void) -> Result<usize, Errno> {
    const BYTES: usize = 8;
    const NO_OPERATION: usize = c_int::MAX as usize;
    // an aligned set lies within one page
    let set = address as usize & !(BYTES - 1);
    // SAFETY: the kernel checks where it reads, and changes nothing
    unsafe { call(libc::SYS_rt_sigprocmask, [NO_OPERATION, set, 0, BYTES, 0, 0]) }
}

/// Has the kernel add zero to an aligned word in one step, wherever that is: `EFAULT` where it cannot be written.
pub(crate) fn add_nothing(word: *mut u32) -> Result<usize, Errno> {
    const ADD: usize = 1 << 28;
    const NO_WAITERS: usize = 0;
    // where nobody waits
    let here = 0_u32;
    let arguments = [
        &raw const here as usize,
        (libc::FUTEX_WAKE_OP | libc::FUTEX_PRIVATE_FLAG) as usize,
        NO_WAITERS,
        NO_WAITERS,
        word as usize,
        ADD,
    ];
    // SAFETY: the kernel checks where it writes, and whoever waits there has to expect to be woken for nothing (futex(2))
    unsafe { call(libc::SYS_futex, arguments) }
}

/// Copies up to `buffer.len()` bytes from `address`, as far as they are readable; gives the count.
pub(crate) fn read_own_memory(address: *const c_void, buffer: &mut [u8]) -> Result<usize, Errno> {
    let own = super::process_id();
    let local = iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let remote = iovec {
        iov_base: address.cast_mut(),
        iov_len: buffer.len(),
    };
    let arguments = [
        own as usize,
        &raw const local as usize,
        1,
        &raw const remote as usize,
        1,
        0,
    ];
    // SAFETY: the local vector is a writable buffer; the remote one is checked by the kernel, which never faults on it
    unsafe { call(libc::SYS_process_vm_readv, arguments) }
}

/// Maps `length` bytes of fresh memory.
pub(crate) fn map_memory(length: usize) -> Result<*mut c_void, Errno> {
    let arguments = [
        0,
        length,
        (libc::PROT_READ | libc::PROT_WRITE) as usize,
        (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize,
        usize::MAX,
        0,
    ];
    // SAFETY: a mapping at a place that the kernel chooses touches no other
    unsafe { call(libc::SYS_mmap, arguments) }.map(|address| address as *mut c_void)
}

/// Gives back what [`map_memory`] gave.
///
/// # Safety
///
/// Nothing may use the mapping any more.
pub(crate) unsafe fn unmap_memory(address: *mut c_void, length: usize) {
    // SAFETY: the caller gives up the mapping; a failure would leave it in place, which harms nothing
    let _unmapped = unsafe { call(libc::SYS_munmap, [address as usize, length, 0, 0, 0, 0]) };
}

/// mprotect(2).
///
/// # Safety
///
/// The pages have to be the caller's, and nobody may use them in a way that is forbidden afterwards.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn protect(address: *mut c_void, length: usize, protection: c_int) -> Result<(), Errno> {
    let arguments = [address as usize, length, protection as usize, 0, 0, 0];
    // SAFETY: the caller vouches for the pages
    unsafe { call(libc::SYS_mprotect, arguments) }.map(drop)
}

/// mmap(2) of a file's code, in the place of what is mapped there.
///
/// # Safety
///
/// The pages have to be the caller's to replace.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn map_code(
    file: &Descriptor,
    offset: usize,
    address: *mut c_void,
    length: usize,
) -> Result<(), Errno> {
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
    let arguments = [
        address as usize,
        length,
        protection as usize,
        flags as usize,
        file.0 as usize,
        offset,
    ];
    // SAFETY: the caller vouches for the pages
    unsafe { call(libc::SYS_mmap, arguments) }.map(drop)
}
