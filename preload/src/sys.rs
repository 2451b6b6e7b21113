//! System calls made directly, past libc.
//!
//! The library's own calls go this way for three reasons: they cannot enter the hooks again, they leave `errno` alone,
//! and they are no cancellation points (pthreads(7)), so that a cancelled thread never unwinds out of the middle of
//! an operation. What the program itself asked for goes through libc's own function instead, see [`crate::real`].

use crate::errno::Errno;
use core::ffi::CStr;
use core::ptr;
use libc::{c_char, c_int, c_long, c_void, iovec, msghdr, pid_t, sockaddr, sockaddr_storage, socklen_t};

/// Makes a system call with six arguments; unused ones are ignored by the kernel.
///
/// # Safety
///
/// As for the named call: every pointer among the arguments has to be what the call expects.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn call(number: c_long, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the registers are those of the kernel's calling convention, which keeps all but rax, rcx and r11
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    Errno::check(result)
}

/// Makes a system call with six arguments; unused ones are ignored by the kernel.
///
/// # Safety
///
/// As for the named call: every pointer among the arguments has to be what the call expects.
#[cfg(target_arch = "aarch64")]
#[inline]
unsafe fn call(number: c_long, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the registers are those of the kernel's calling convention, which keeps all but x0
    unsafe {
        core::arch::asm!(
            "svc 0",
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f, in("x8") number,
            options(nostack),
        );
    }
    Errno::check(result)
}

/// A descriptor that the library opened for the length of one call.
pub(crate) struct Descriptor(c_int);

impl Descriptor {
    pub(crate) fn raw(&self) -> c_int {
        self.0
    }

    /// Gives it to the program.
    pub(crate) fn into_raw(self) -> c_int {
        let raw = self.0;
        core::mem::forget(self);
        raw
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        close(self.0);
    }
}

/// close(2).
pub(crate) fn close(descriptor: c_int) {
    // SAFETY: close takes no pointer. Linux frees the number whatever it returns, so the result says nothing
    let _closed = unsafe { call(libc::SYS_close, [descriptor as usize, 0, 0, 0, 0, 0]) };
}

/// dup3(2): what `descriptor` is open for goes under the number `place`.
pub(crate) fn replace(descriptor: &Descriptor, place: c_int, flags: c_int) -> Result<(), Errno> {
    let arguments = [descriptor.0 as usize, place as usize, flags as usize, 0, 0, 0];
    // SAFETY: dup3 takes no pointer
    unsafe { call(libc::SYS_dup3, arguments) }.map(drop)
}

/// socket(2).
pub(crate) fn socket(domain: c_int, kind: c_int, protocol: c_int) -> Result<Descriptor, Errno> {
    // SAFETY: socket takes no pointer
    let made = unsafe {
        call(
            libc::SYS_socket,
            [domain as usize, kind as usize, protocol as usize, 0, 0, 0],
        )
    };
    made.map(|descriptor| Descriptor(descriptor as c_int))
}

/// fcntl(2) with an integer argument.
pub(crate) fn fcntl(descriptor: c_int, command: c_int, argument: c_int) -> Result<c_int, Errno> {
    // SAFETY: the commands that are used here take no pointer
    let done = unsafe {
        call(
            libc::SYS_fcntl,
            [descriptor as usize, command as usize, argument as usize, 0, 0, 0],
        )
    };
    done.map(|value| value as c_int)
}

/// Duplicates `descriptor` to a number above those of the standard streams.
pub(crate) fn duplicate_above_standard_streams(descriptor: &Descriptor) -> Result<Descriptor, Errno> {
    fcntl(descriptor.raw(), libc::F_DUPFD_CLOEXEC, libc::STDERR_FILENO + 1).map(Descriptor)
}

/// connect(2).
///
/// # Safety
///
/// `length` bytes at `address` have to be readable.
pub(crate) unsafe fn connect(
    descriptor: c_int,
    address: *const sockaddr,
    length: socklen_t,
) -> Result<(), Errno> {
    // SAFETY: the caller vouches for the address
    let done = unsafe {
        call(
            libc::SYS_connect,
            [descriptor as usize, address as usize, length as usize, 0, 0, 0],
        )
    };
    done.map(drop)
}

/// sendmsg(2).
///
/// # Safety
///
/// `message` and what it points to have to be readable.
pub(crate) unsafe fn sendmsg(
    descriptor: c_int,
    message: *const msghdr,
    flags: c_int,
) -> Result<usize, Errno> {
    // SAFETY: the caller vouches for the message
    unsafe {
        call(
            libc::SYS_sendmsg,
            [descriptor as usize, message as usize, flags as usize, 0, 0, 0],
        )
    }
}

/// sched_yield(2).
pub(crate) fn give_way() {
    // SAFETY: sched_yield takes nothing, and always succeeds on Linux
    let _yielded = unsafe { call(libc::SYS_sched_yield, [0; 6]) };
}

/// recv(2); descriptors that come with the message are dropped by the kernel.
pub(crate) fn recv(descriptor: c_int, buffer: &mut [u8], flags: c_int) -> Result<usize, Errno> {
    let arguments = [
        descriptor as usize,
        buffer.as_mut_ptr() as usize,
        buffer.len(),
        flags as usize,
        0,
        0,
    ];
    // SAFETY: the buffer is writable for its length
    unsafe { call(libc::SYS_recvfrom, arguments) }
}

/// getsockopt(2) of an option that is one plain value of type `T`.
pub(crate) fn socket_option<T: Copy + Default>(
    descriptor: c_int,
    level: c_int,
    name: c_int,
) -> Result<T, Errno> {
    let mut value = T::default();
    let mut length = size_of::<T>() as socklen_t;
    let arguments = [
        descriptor as usize,
        level as usize,
        name as usize,
        &raw mut value as usize,
        &raw mut length as usize,
        0,
    ];
    // SAFETY: value is writable for length bytes, and the kernel writes no more than that
    unsafe { call(libc::SYS_getsockopt, arguments) }.map(|_| value)
}

/// Has the kernel write an int, the socket's type, to `address`, wherever that is.
pub(crate) fn write_socket_type(descriptor: c_int, address: *mut c_int) -> Result<(), Errno> {
    let mut length = size_of::<c_int>() as socklen_t;
    let arguments = [
        descriptor as usize,
        libc::SOL_SOCKET as usize,
        libc::SO_TYPE as usize,
        address as usize,
        &raw mut length as usize,
        0,
    ];
    // SAFETY: the kernel fails with EFAULT where it cannot write the value, and the length is ours
    unsafe { call(libc::SYS_getsockopt, arguments) }.map(drop)
}

/// setsockopt(2) with `length` bytes at `value`, whatever they are: the kernel checks them.
pub(crate) fn set_socket_option(
    descriptor: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: usize,
) -> Result<(), Errno> {
    let arguments = [
        descriptor as usize,
        level as usize,
        name as usize,
        value as usize,
        length,
        0,
    ];
    // SAFETY: the kernel copies the value and fails with EFAULT where it cannot be read
    unsafe { call(libc::SYS_setsockopt, arguments) }.map(drop)
}

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

/// getpeername(2) into a buffer that holds every address; gives the address's own length.
pub(crate) fn getpeername(descriptor: c_int, address: &mut sockaddr_storage) -> Result<usize, Errno> {
    name(libc::SYS_getpeername, descriptor, address)
}

/// getsockname(2), likewise.
pub(crate) fn getsockname(descriptor: c_int, address: &mut sockaddr_storage) -> Result<usize, Errno> {
    name(libc::SYS_getsockname, descriptor, address)
}

fn name(number: c_long, descriptor: c_int, address: &mut sockaddr_storage) -> Result<usize, Errno> {
    let mut length = size_of::<sockaddr_storage>() as socklen_t;
    let place = ptr::from_mut(address) as usize;
    let arguments = [descriptor as usize, place, &raw mut length as usize, 0, 0, 0];
    // SAFETY: address is writable for length bytes, and length itself is writable
    unsafe { call(number, arguments) }.map(|_| length as usize)
}

/// Copies up to `buffer.len()` bytes from `address`, as far as they are readable; gives the count.
pub(crate) fn read_own_memory(address: *const c_void, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: getpid takes no argument
    let own = unsafe { call(libc::SYS_getpid, [0; 6]) }? as pid_t;
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

/// openat(2) of a file that is there, for the length of one call.
///
/// `path` may be anything: the kernel checks it.
pub(crate) fn open_at(folder: c_int, path: *const c_char, flags: c_int) -> Result<Descriptor, Errno> {
    let flags = flags | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK;
    open_for_program(folder, path, flags)
}

/// openat(2) of a file that is there, with these flags alone.
pub(crate) fn open_for_program(
    folder: c_int,
    path: *const c_char,
    flags: c_int,
) -> Result<Descriptor, Errno> {
    // SAFETY: the kernel fails with EFAULT where the path cannot be read
    let opened = unsafe {
        call(
            libc::SYS_openat,
            [folder as usize, path as usize, flags as usize, 0, 0, 0],
        )
    };
    opened.map(|descriptor| Descriptor(descriptor as c_int))
}

/// pread(2).
pub(crate) fn read_at(descriptor: &Descriptor, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let arguments = [
        descriptor.raw() as usize,
        buffer.as_mut_ptr() as usize,
        buffer.len(),
        offset as usize,
        0,
        0,
    ];
    // SAFETY: the buffer is writable for its length
    unsafe { call(libc::SYS_pread64, arguments) }
}

/// fstat(2).
pub(crate) fn status(descriptor: &Descriptor) -> Result<libc::stat, Errno> {
    // SAFETY: zeros are a status
    let mut status: libc::stat = unsafe { core::mem::zeroed() };
    let arguments = [descriptor.raw() as usize, &raw mut status as usize, 0, 0, 0, 0];
    // SAFETY: on 64-bit machines libc's structure is the kernel's, and it is writable
    unsafe { call(libc::SYS_fstat, arguments) }.map(|_| status)
}

/// Whether the file lies in a file system whose files give no rights (`nosuid`, mount(8)).
pub(crate) fn is_on_nosuid(descriptor: &Descriptor) -> bool {
    /// The place of `f_flags` among the words of the structure, which libc's does not show.
    const FLAGS: usize = 10;
    let mut status = [0_u64; size_of::<libc::statfs>() / size_of::<u64>()];
    let arguments = [descriptor.raw() as usize, &raw mut status as usize, 0, 0, 0, 0];
    // SAFETY: on 64-bit machines libc's structure is as large as the kernel's, and it is writable
    let done = unsafe { call(libc::SYS_fstatfs, arguments) };
    let flags = status.get(FLAGS).copied().unwrap_or_default();
    done.is_ok() && flags & libc::ST_NOSUID != 0
}

/// fgetxattr(2).
pub(crate) fn attribute(descriptor: &Descriptor, name: &CStr, value: &mut [u8]) -> Result<usize, Errno> {
    let arguments = [
        descriptor.raw() as usize,
        name.as_ptr() as usize,
        value.as_mut_ptr() as usize,
        value.len(),
        0,
        0,
    ];
    // SAFETY: the name is a C string, and the value is writable for its length
    unsafe { call(libc::SYS_fgetxattr, arguments) }
}

/// readlink(2); gives the length of the target, which no null ends.
///
/// `path` may be anything: the kernel checks it.
pub(crate) fn read_link(path: *const c_char, target: &mut [u8]) -> Result<usize, Errno> {
    let arguments = [
        libc::AT_FDCWD as usize,
        path as usize,
        target.as_mut_ptr() as usize,
        target.len(),
        0,
        0,
    ];
    // SAFETY: the kernel fails with EFAULT where the path cannot be read, and the target is writable for its length
    unsafe { call(libc::SYS_readlinkat, arguments) }
}

/// The process's real user and group.
pub(crate) fn real_ids() -> (u32, u32) {
    // SAFETY: neither takes an argument, and neither can fail
    let ids = [libc::SYS_getuid, libc::SYS_getgid].map(|number| unsafe { call(number, [0; 6]) });
    let [user, group] = ids.map(|id| id.unwrap_or_default() as u32);
    (user, group)
}

/// Whether no program that this process starts gets new rights (`PR_SET_NO_NEW_PRIVS`, prctl(2)).
pub(crate) fn has_no_new_rights() -> bool {
    let arguments = [libc::PR_GET_NO_NEW_PRIVS as usize, 0, 0, 0, 0, 0];
    // SAFETY: this request takes no pointer
    let answer = unsafe { call(libc::SYS_prctl, arguments) };
    answer == Ok(1)
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
#[cfg(all(target_arch = "x86_64", not(test)))]
pub(crate) unsafe fn protect(address: *mut c_void, length: usize, protection: c_int) -> Result<(), Errno> {
    let arguments = [address as usize, length, protection as usize, 0, 0, 0];
    // SAFETY: the caller vouches for the pages
    unsafe { call(libc::SYS_mprotect, arguments) }.map(drop)
}

/// Whether this process and what it starts may not make code of their own (prctl(2), `PR_GET_MDWE`, which kernels know
/// since 6.3).
pub(crate) fn is_sealed() -> bool {
    const PR_GET_MDWE: usize = 66;
    // SAFETY: the call takes no pointer
    unsafe { call(libc::SYS_prctl, [PR_GET_MDWE, 0, 0, 0, 0, 0]) }.is_ok_and(|bits| bits != 0)
}

/// mmap(2) of a file's code, in the place of what is mapped there.
///
/// # Safety
///
/// The pages have to be the caller's to replace.
#[cfg(all(target_arch = "x86_64", not(test)))]
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
