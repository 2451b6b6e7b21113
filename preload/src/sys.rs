//! System calls made directly, past libc.
//!
//! The library makes its own calls directly for three reasons: they cannot enter the hooks again, they do not set
//! `errno`, and they are no cancellation points (pthreads(7)), so that a cancelled thread never unwinds in the middle
//! of an operation. The program's own calls go through libc's functions instead ([`crate::real`]).

mod files;
mod memory;

pub(crate) use files::*;
pub(crate) use memory::*;

use crate::errno::Errno;
use core::ptr;
use kinject_protocol::executable::{Mdwe, PR_GET_MDWE};
use libc::{c_int, c_long, c_void, msghdr, pid_t, sockaddr, sockaddr_storage, socklen_t};

/// getpid(2), also where libc remembers a parent's (before glibc 2.25).
pub(crate) fn process_id() -> pid_t {
    // SAFETY: getpid takes no argument
    match unsafe { call(libc::SYS_getpid, [0; 6]) } {
        Ok(id) => id as pid_t,
        // it never fails
        Err(_) => 0,
    }
}

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

/// A descriptor that the library opened for the duration of one call.
pub(crate) struct Descriptor(c_int);

impl Descriptor {
    /// # Safety
    ///
    /// Nobody else may know the descriptor.
    pub(crate) unsafe fn from_raw(raw: c_int) -> Self {
        Self(raw)
    }

    pub(crate) fn raw(&self) -> c_int {
        self.0
    }

    /// The raw descriptor, which the program owns from here on.
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

/// dup3(2): makes `replaced` a duplicate of `descriptor`.
pub(crate) fn replace(descriptor: &Descriptor, replaced: c_int, flags: c_int) -> Result<(), Errno> {
    let arguments = [descriptor.0 as usize, replaced as usize, flags as usize, 0, 0, 0];
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

/// recvmsg(2).
///
/// # Safety
///
/// `message` and what it points to have to be writable.
pub(crate) unsafe fn recvmsg(descriptor: c_int, message: *mut msghdr, flags: c_int) -> Result<usize, Errno> {
    // SAFETY: the caller vouches for the message
    unsafe {
        call(
            libc::SYS_recvmsg,
            [descriptor as usize, message as usize, flags as usize, 0, 0, 0],
        )
    }
}

/// sched_yield(2).
pub(crate) fn yield_processor() {
    // SAFETY: sched_yield takes no argument, and always succeeds on Linux
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

/// Whether a socket has a pending error or a hang-up (poll(2), `POLLERR` and `POLLRDHUP`). Asking does not clear the
/// error.
pub(crate) fn has_error_or_hang_up(descriptor: c_int) -> bool {
    let mut poll = libc::pollfd {
        fd: descriptor,
        events: libc::POLLRDHUP,
        revents: 0,
    };
    let no_wait = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let arguments = [
        (&raw mut poll) as usize,
        1,
        (&raw const no_wait) as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the pollfd is writable and the time readable; there is no signal mask
    let answered = unsafe { call(libc::SYS_ppoll, arguments) };
    answered == Ok(1) && poll.revents & (libc::POLLRDHUP | libc::POLLERR) != 0
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

/// getpeername(2) into a buffer that holds every address; gives the address's length.
pub(crate) fn getpeername(descriptor: c_int, address: &mut sockaddr_storage) -> Result<usize, Errno> {
    name(libc::SYS_getpeername, descriptor, address)
}

/// getsockname(2), likewise.
pub(crate) fn getsockname(descriptor: c_int, address: &mut sockaddr_storage) -> Result<usize, Errno> {
    name(libc::SYS_getsockname, descriptor, address)
}

/// The peer to which a socket is connected, or was last connecting (`SO_PEERNAME`), also while getpeername(2) fails.
/// `length` is that of the family's addresses: the kernel refuses a longer one.
pub(crate) fn last_peer(
    descriptor: c_int,
    address: &mut sockaddr_storage,
    length: usize,
) -> Result<usize, Errno> {
    let mut length = length.min(size_of::<sockaddr_storage>()) as socklen_t;
    let arguments = [
        descriptor as usize,
        libc::SOL_SOCKET as usize,
        libc::SO_PEERNAME as usize,
        ptr::from_mut(address) as usize,
        &raw mut length as usize,
        0,
    ];
    // SAFETY: address is writable for length bytes, and length itself is writable
    unsafe { call(libc::SYS_getsockopt, arguments) }.map(|_| length as usize)
}

fn name(number: c_long, descriptor: c_int, address: &mut sockaddr_storage) -> Result<usize, Errno> {
    let mut length = size_of::<sockaddr_storage>() as socklen_t;
    let buffer = ptr::from_mut(address) as usize;
    let arguments = [descriptor as usize, buffer, &raw mut length as usize, 0, 0, 0];
    // SAFETY: address is writable for length bytes, and length itself is writable
    unsafe { call(number, arguments) }.map(|_| length as usize)
}

/// The process's real user and group.
pub(crate) fn real_ids() -> (u32, u32) {
    // SAFETY: neither takes an argument, and neither can fail
    let ids = [libc::SYS_getuid, libc::SYS_getgid].map(|number| unsafe { call(number, [0; 6]) });
    let [user, group] = ids.map(|id| id.unwrap_or_default() as u32);
    (user, group)
}

/// The process's effective user.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: geteuid takes no argument and cannot fail
    let user = unsafe { call(libc::SYS_geteuid, [0; 6]) };
    user.unwrap_or_default() as u32
}

/// Whether no program that this process starts gains privileges (`PR_SET_NO_NEW_PRIVS`, prctl(2)).
pub(crate) fn has_no_new_privileges() -> bool {
    let arguments = [libc::PR_GET_NO_NEW_PRIVS as usize, 0, 0, 0, 0, 0];
    // SAFETY: this request takes no pointer
    let answer = unsafe { call(libc::SYS_prctl, arguments) };
    answer == Ok(1)
}

/// Whether this process and its children may make writable memory executable (`PR_SET_MDWE`, prctl(2)).
pub(crate) fn mdwe() -> Mdwe {
    // SAFETY: the call takes no pointer
    let answer = unsafe { call(libc::SYS_prctl, [PR_GET_MDWE as usize, 0, 0, 0, 0, 0]) };
    Mdwe::from_answer(answer.map_or(-1, |bits| bits as c_int))
}
