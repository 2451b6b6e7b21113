//! System calls by number, for those that have hooks by name.
//!
//! A program that calls connect(2) and similar calls by syscall(2) gets the hook of that function; both set `errno`.
//! Every other number continues in libc with registers and stack unchanged: a clone(2) by number returns on a stack
//! of the program's choice, on which there is no frame of ours. System calls of Go programs, which do not use libc
//! for them, also come here ([`crate::go`]).

mod paths_by_number;

use crate::files::Question;
use crate::paths::{self, Action, Native, Spec};
use crate::{bind, connect, exec, files, peer, receive, send, shutdown, sockopt};
use libc::{c_char, c_int, c_long};

/// The numbers of the calls that [`in_session`] knows, besides those of [`paths_by_number`].
const HOOKED: &[c_long] = &[
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_shutdown,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_getsockopt,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
];

/// More than any number among [`HOOKED`], and a multiple of 64.
pub(crate) const LIMIT: usize = 512;

/// A bit map of all these numbers.
pub(crate) static SET: [u64; LIMIT / 64] = bit_map();

const fn bit_map() -> [u64; LIMIT / 64] {
    with(paths_by_number::HOOKED, with(HOOKED, [0; LIMIT / 64]))
}

const fn with(numbers: &[c_long], mut set: [u64; LIMIT / 64]) -> [u64; LIMIT / 64] {
    let mut index = 0;
    while index < numbers.len() {
        let number = numbers[index] as usize;
        set[number / 64] |= 1 << (number % 64);
        index += 1;
    }
    set
}

/// Calls the hook of the system call, which is one of [`SET`].
///
/// Returns what syscall(2) returns: -1, and `errno` set, for an error.
#[cfg_attr(test, allow(dead_code))]
pub(crate) fn in_session(number: c_long, arguments: [usize; 6]) -> c_long {
    let [a, b, c, d, e, f] = arguments;
    let descriptor = a as c_int;
    match number {
        libc::SYS_connect => c_long::from(connect::connect_in_session(descriptor, b as _, c as _)),
        libc::SYS_bind => c_long::from(bind::bind_in_session(descriptor, b as _, c as _)),
        libc::SYS_shutdown => c_long::from(shutdown::shutdown_in_session(descriptor, b as _)),
        libc::SYS_accept => c_long::from(peer::accept_in_session(descriptor, b as _, c as _)),
        libc::SYS_accept4 => c_long::from(peer::accept4_in_session(descriptor, b as _, c as _, d as _)),
        libc::SYS_sendto => send::sendto_in_session(descriptor, b as _, c, d as _, e as _, f as _) as c_long,
        libc::SYS_sendmsg => send::sendmsg_in_session(descriptor, b as _, c as _) as c_long,
        libc::SYS_sendmmsg => c_long::from(send::sendmmsg_in_session(descriptor, b as _, c as _, d as _)),
        libc::SYS_recvfrom => {
            receive::recvfrom_in_session(descriptor, b as _, c, d as _, e as _, f as _) as c_long
        }
        libc::SYS_recvmsg => receive::recvmsg_in_session(descriptor, b as _, c as _) as c_long,
        libc::SYS_recvmmsg => c_long::from(receive::recvmmsg_in_session(
            descriptor, b as _, c as _, d as _, e as _,
        )),
        libc::SYS_getsockopt => c_long::from(sockopt::getsockopt_in_session(
            descriptor, b as _, c as _, d as _, e as _,
        )),
        libc::SYS_getpeername => c_long::from(peer::getpeername_in_session(descriptor, b as _, c as _)),
        libc::SYS_getsockname => c_long::from(peer::getsockname_in_session(descriptor, b as _, c as _)),
        libc::SYS_execve => c_long::from(exec::execve_in_session(a as _, b as _, c as _)),
        libc::SYS_execveat => c_long::from(exec::execveat_in_session(
            descriptor, b as _, c as _, d as _, e as _,
        )),
        libc::SYS_openat => {
            let opened = of_path(number, arguments, Spec::at(Action::Open(2)));
            files::opened_in_session(opened as c_int, b as *const c_char, c as c_int).into()
        }
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => {
            let opened = of_path(number, arguments, Spec::path(Action::Open(1)));
            files::opened_in_session(opened as c_int, a as *const c_char, b as c_int).into()
        }
        libc::SYS_newfstatat | libc::SYS_statx | libc::SYS_faccessat | libc::SYS_faccessat2 => {
            let (question, action) = match number {
                libc::SYS_newfstatat => (Question::Status(c as _), Action::Ask),
                libc::SYS_statx => {
                    let (flags, mask, status) = (c as _, d as _, e as _);
                    (Question::Extended { flags, mask, status }, Action::Ask)
                }
                _ => (Question::Access(c as _), Action::Access(2)),
            };
            let ask = |path: *const c_char| {
                of_path(number, [a, path as usize, c, d, e, f], Spec::at(action)) as c_int
            };
            files::asked_in_session(b as *const c_char, question, ask).into()
        }
        #[cfg(target_arch = "x86_64")]
        libc::SYS_stat | libc::SYS_lstat | libc::SYS_access => {
            let (question, action) = match number {
                libc::SYS_access => (Question::Access(b as _), Action::Access(1)),
                _ => (Question::Status(b as _), Action::Ask),
            };
            let ask = |path: *const c_char| {
                of_path(number, [path as usize, b, c, d, e, f], Spec::path(action)) as c_int
            };
            files::asked_in_session(a as *const c_char, question, ask).into()
        }
        _ => paths_by_number::in_session(number, arguments),
    }
}

/// A call that takes one path.
fn of_path(number: c_long, arguments: [usize; 6], spec: Spec) -> c_long {
    paths::run(Native::Number(number), arguments, spec) as c_long
}

#[cfg(not(test))]
mod exported {
    use super::{LIMIT, SET, in_session};
    use crate::errno::Errno;
    use crate::real;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use libc::{c_int, c_long};

    /// libc's function, once it was looked up.
    static NATIVE: AtomicUsize = AtomicUsize::new(0);

    /// Looks libc's function up; two threads that do so at once find the same.
    extern "C" fn look_up() -> usize {
        let found = real::syscall
            .get()
            .map_or(absent as *const () as usize, |native| native as usize);
        NATIVE.store(found, Ordering::Relaxed);
        found
    }

    /// Called instead of a function that libc does not have.
    extern "C" fn absent() -> c_long {
        let failed: c_int = Errno(libc::ENOSYS).fail();
        c_long::from(failed)
    }

    /// syscall(2) is variadic. On the supported machines its arguments are passed as those of a function with six
    /// (System V ABI for x86-64, 3.5.7; AAPCS64), and the kernel does not read those that a call does not have.
    extern "C" fn syscall_in_session(
        number: c_long,
        a: usize,
        b: usize,
        c: usize,
        d: usize,
        e: usize,
        f: usize,
    ) -> c_long {
        in_session(number, [a, b, c, d, e, f])
    }

    /// Continues in our function or in libc's, with all registers and the stack unchanged.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn syscall() {
        #[cfg(target_arch = "x86_64")]
        core::arch::naked_asm!(
            "cmp rdi, {limit}",
            "jae 4f",
            "lea r11, [rip + {set}]",
            "bt [r11], rdi",
            "jc 2f",
            "4:",
            "mov r11, [rip + {native}]",
            "test r11, r11",
            "jz 3f",
            "jmp r11",
            "2: jmp {ours}",
            // the first call
            "3: push rdi",
            "push rsi",
            "push rdx",
            "push rcx",
            "push r8",
            "push r9",
            "sub rsp, 8",
            "call {look_up}",
            "add rsp, 8",
            "pop r9",
            "pop r8",
            "pop rcx",
            "pop rdx",
            "pop rsi",
            "pop rdi",
            "jmp rax",
            limit = const LIMIT, set = sym SET,
            native = sym NATIVE, ours = sym syscall_in_session, look_up = sym look_up,
        );
        #[cfg(target_arch = "aarch64")]
        core::arch::naked_asm!(
            "cmp x0, #{limit}",
            "b.hs 4f",
            "adrp x16, {set}",
            "add x16, x16, :lo12:{set}",
            "lsr x17, x0, #6",
            "ldr x16, [x16, x17, lsl #3]",
            "lsr x16, x16, x0",
            "tbnz x16, #0, 2f",
            "4:",
            "adrp x16, {native}",
            "ldr x16, [x16, :lo12:{native}]",
            "cbz x16, 3f",
            "br x16",
            "2: b {ours}",
            // the first call
            "3: stp x29, x30, [sp, #-80]!",
            "mov x29, sp",
            "stp x0, x1, [sp, #16]",
            "stp x2, x3, [sp, #32]",
            "stp x4, x5, [sp, #48]",
            "str x6, [sp, #64]",
            "bl {look_up}",
            "mov x16, x0",
            "ldp x0, x1, [sp, #16]",
            "ldp x2, x3, [sp, #32]",
            "ldp x4, x5, [sp, #48]",
            "ldr x6, [sp, #64]",
            "ldp x29, x30, [sp], #80",
            "br x16",
            limit = const LIMIT, set = sym SET,
            native = sym NATIVE, ours = sym syscall_in_session, look_up = sym look_up,
        );
    }
}
