//! System calls on the process's own memory.

#[cfg(target_arch = "x86_64")]
use super::Descriptor;
use super::call;
use crate::errno::Errno;
use libc::{c_int, c_void, iovec};

/// Lets the kernel read eight bytes around `address` as a signal set, whatever the address is. Always an error:
/// `EFAULT` if they cannot be read, otherwise `EINVAL`, since rt_sigprocmask(2) has no such operation.
pub(crate) fn read_signal_set(address: *const c_void) -> Result<usize, Errno> {
    const BYTES: usize = 8;
    const INVALID_OPERATION: usize = c_int::MAX as usize;
    // an aligned set lies within one page
    let set = address as usize & !(BYTES - 1);
    // SAFETY: the kernel checks where it reads, and changes nothing
    unsafe { call(libc::SYS_rt_sigprocmask, [INVALID_OPERATION, set, 0, BYTES, 0, 0]) }
}

/// Lets the kernel atomically add zero to an aligned word, whatever the address is: `EFAULT` if it cannot be written.
pub(crate) fn add_zero(word: *mut u32) -> Result<usize, Errno> {
    const ADD: usize = 1 << 28;
    const NO_WAITERS: usize = 0;
    // a futex on which no thread waits
    let futex = 0_u32;
    let arguments = [
        &raw const futex as usize,
        (libc::FUTEX_WAKE_OP | libc::FUTEX_PRIVATE_FLAG) as usize,
        NO_WAITERS,
        NO_WAITERS,
        word as usize,
        ADD,
    ];
    // SAFETY: the kernel checks the address, and a thread that waits there has to expect spurious wake-ups (futex(2))
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
    // SAFETY: a mapping at an address that the kernel chooses touches no other
    unsafe { call(libc::SYS_mmap, arguments) }.map(|address| address as *mut c_void)
}

/// Unmaps what [`map_memory`] mapped.
///
/// # Safety
///
/// Nothing may use the mapping any more.
pub(crate) unsafe fn unmap_memory(address: *mut c_void, length: usize) {
    // SAFETY: the caller gives up the mapping; after a failure it stays mapped, without harm
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

/// mmap(2) of a file's code over an existing mapping.
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
