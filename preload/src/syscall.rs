//! syscall(2), for the calls that have hooks of their own.
//!
//! Whoever calls connect(2) and the like by number means the function, so it gets what the function gives; both set
//! `errno`. Every other number continues in libc with registers and stack as they were: a clone(2) by number returns on
//! a stack of the program's choice, where no frame of ours would be.

use crate::{connect, datagram, exec, peer, receive, sockopt};
use libc::{c_int, c_long};

/// Calls the hook that stands for the system call.
///
/// The function is variadic, but its arguments lie as those of a function with six of them on the machines that we are
/// for (System V ABI for x86-64, 3.5.7; AAPCS64), where those that a call does not have are left unread.
#[cfg_attr(test, allow(dead_code))]
extern "C" fn syscall_in_session(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    let socket = a as c_int;
    match number {
        libc::SYS_connect => c_long::from(connect::connect_in_session(socket, b as _, c as _)),
        libc::SYS_sendto => datagram::sendto_in_session(socket, b as _, c, d as _, e as _, f as _) as c_long,
        libc::SYS_sendmsg => datagram::sendmsg_in_session(socket, b as _, c as _) as c_long,
        libc::SYS_sendmmsg => c_long::from(datagram::sendmmsg_in_session(socket, b as _, c as _, d as _)),
        libc::SYS_recvfrom => {
            receive::recvfrom_in_session(socket, b as _, c, d as _, e as _, f as _) as c_long
        }
        libc::SYS_recvmsg => receive::recvmsg_in_session(socket, b as _, c as _) as c_long,
        libc::SYS_recvmmsg => c_long::from(receive::recvmmsg_in_session(
            socket, b as _, c as _, d as _, e as _,
        )),
        libc::SYS_getsockopt => c_long::from(sockopt::getsockopt_in_session(
            socket, b as _, c as _, d as _, e as _,
        )),
        libc::SYS_getpeername => c_long::from(peer::getpeername_in_session(socket, b as _, c as _)),
        libc::SYS_getsockname => c_long::from(peer::getsockname_in_session(socket, b as _, c as _)),
        libc::SYS_execve => c_long::from(exec::execve_in_session(a as _, b as _, c as _)),
        libc::SYS_execveat => c_long::from(exec::execveat_in_session(socket, b as _, c as _, d as _, e as _)),
        // none of those for which the jump below comes here
        _ => c_long::from(crate::errno::Errno(libc::ENOSYS).fail()),
    }
}

#[cfg(not(test))]
mod exported {
    use super::syscall_in_session;
    use crate::errno::Errno;
    use crate::real;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use libc::{c_int, c_long};

    /// libc's function, as soon as it was looked up.
    static NATIVE: AtomicUsize = AtomicUsize::new(0);

    /// Looks libc's function up; the same again where two do so at once.
    extern "C" fn look_up() -> usize {
        let found = real::syscall
            .get()
            .map_or(absent as *const () as usize, |native| native as usize);
        NATIVE.store(found, Ordering::Relaxed);
        found
    }

    /// Stands for a function that libc does not have.
    extern "C" fn absent() -> c_long {
        let failed: c_int = Errno(libc::ENOSYS).fail();
        c_long::from(failed)
    }

    macro_rules! sorted {
        ($compare:literal, $after:literal) => {
            concat!(
                $compare,
                "{connect}",
                $after,
                $compare,
                "{sendto}",
                $after,
                $compare,
                "{sendmsg}",
                $after,
                $compare,
                "{sendmmsg}",
                $after,
                $compare,
                "{recvfrom}",
                $after,
                $compare,
                "{recvmsg}",
                $after,
                $compare,
                "{recvmmsg}",
                $after,
                $compare,
                "{getsockopt}",
                $after,
                $compare,
                "{getpeername}",
                $after,
                $compare,
                "{getsockname}",
                $after,
                $compare,
                "{execve}",
                $after,
                $compare,
                "{execveat}",
                $after,
            )
        };
    }

    /// Continues in our function or in libc's, with everything as it was passed.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn syscall() {
        #[cfg(target_arch = "x86_64")]
        core::arch::naked_asm!(
            sorted!("cmp rdi, ", "\nje 2f\n"),
            "mov r11, [rip + {native}]",
            "test r11, r11",
            "jz 3f",
            "jmp r11",
            "2: jmp {ours}",
            // the first time
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
            connect = const libc::SYS_connect, sendto = const libc::SYS_sendto,
            sendmsg = const libc::SYS_sendmsg, sendmmsg = const libc::SYS_sendmmsg,
            recvfrom = const libc::SYS_recvfrom, recvmsg = const libc::SYS_recvmsg,
            recvmmsg = const libc::SYS_recvmmsg, getsockopt = const libc::SYS_getsockopt,
            getpeername = const libc::SYS_getpeername, getsockname = const libc::SYS_getsockname,
            execve = const libc::SYS_execve, execveat = const libc::SYS_execveat,
            native = sym NATIVE, ours = sym syscall_in_session, look_up = sym look_up,
        );
        #[cfg(target_arch = "aarch64")]
        core::arch::naked_asm!(
            sorted!("cmp x0, #", "\nb.eq 2f\n"),
            "adrp x16, {native}",
            "ldr x16, [x16, :lo12:{native}]",
            "cbz x16, 3f",
            "br x16",
            "2: b {ours}",
            // the first time
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
            connect = const libc::SYS_connect, sendto = const libc::SYS_sendto,
            sendmsg = const libc::SYS_sendmsg, sendmmsg = const libc::SYS_sendmmsg,
            recvfrom = const libc::SYS_recvfrom, recvmsg = const libc::SYS_recvmsg,
            recvmmsg = const libc::SYS_recvmmsg, getsockopt = const libc::SYS_getsockopt,
            getpeername = const libc::SYS_getpeername, getsockname = const libc::SYS_getsockname,
            execve = const libc::SYS_execve, execveat = const libc::SYS_execveat,
            native = sym NATIVE, ours = sym syscall_in_session, look_up = sym look_up,
        );
    }
}
