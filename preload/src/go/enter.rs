//! The code to which a Go program's system calls jump.

use super::stack::{SIZE, THREAD_SIZE, Thread, bind};
use crate::errno::Errno;
use crate::syscall::{self, LIMIT, SET};
use core::arch::{global_asm, naked_asm};
use core::sync::atomic::{AtomicUsize, Ordering};
use libc::c_long;

/// The addresses at which the program continues with a result, and with an error number.
static SUCCESS: AtomicUsize = AtomicUsize::new(0);
static FAILURE: AtomicUsize = AtomicUsize::new(0);

/// Sets where the program continues, before [`enter`] runs.
pub(super) fn continue_at(success: usize, failure: usize) {
    SUCCESS.store(success, Ordering::Relaxed);
    FAILURE.store(failure, Ordering::Relaxed);
}

// a thread-local variable: a `Thread` of zeros
global_asm!(
    ".pushsection .tbss.kinject_go_thread,\"awT\",@nobits",
    ".balign 8",
    ".type kinject_go_thread, @object",
    ".size kinject_go_thread, {size}",
    "kinject_go_thread: .zero {size}",
    ".popsection",
    size = const THREAD_SIZE,
);

/// Makes the system call in rax with the arguments in rdi, rsi, rdx, r10, r8 and r9, with the kernel's convention:
/// the result is in rax, rcx and r11 are clobbered, and all other registers are preserved. Then does what the
/// replaced instructions did.
///
/// Nothing is pushed on the program's stack, nor written below its stack pointer.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn enter() {
    naked_asm!(
        "cmp rax, {limit}",
        "jae 2f",
        "lea r11, [rip + {set}]",
        "bt [r11], rax",
        "jc 5f",
        "2: syscall",
        // the program's own comparison: unsigned, up to -4095 is no error
        "3: cmp rax, -4095",
        "ja 4f",
        "jmp [rip + {success}]",
        "4: neg rax",
        "jmp [rip + {failure}]",

        // a call with a hook: on the thread's hook stack
        "5: mov r11, fs:[0]",
        "add r11, [rip + kinject_go_thread@gottpoff]",
        "mov rcx, [r11]",
        "test rcx, rcx",
        "jz 8f",
        "6: xchg rsp, rcx",
        "push rcx",
        "push r9",
        "push r8",
        "push r10",
        "push rdx",
        "push rsi",
        "push rdi",
        "sub rsp, 264",
        "movaps [rsp], xmm0",
        "movaps [rsp + 16], xmm1",
        "movaps [rsp + 32], xmm2",
        "movaps [rsp + 48], xmm3",
        "movaps [rsp + 64], xmm4",
        "movaps [rsp + 80], xmm5",
        "movaps [rsp + 96], xmm6",
        "movaps [rsp + 112], xmm7",
        "movaps [rsp + 128], xmm8",
        "movaps [rsp + 144], xmm9",
        "movaps [rsp + 160], xmm10",
        "movaps [rsp + 176], xmm11",
        "movaps [rsp + 192], xmm12",
        "movaps [rsp + 208], xmm13",
        "movaps [rsp + 224], xmm14",
        "movaps [rsp + 240], xmm15",
        "mov rdi, rax",
        "lea rsi, [rsp + 264]",
        "mov rdx, r11",
        "call {hook}",
        "movaps xmm0, [rsp]",
        "movaps xmm1, [rsp + 16]",
        "movaps xmm2, [rsp + 32]",
        "movaps xmm3, [rsp + 48]",
        "movaps xmm4, [rsp + 64]",
        "movaps xmm5, [rsp + 80]",
        "movaps xmm6, [rsp + 96]",
        "movaps xmm7, [rsp + 112]",
        "movaps xmm8, [rsp + 128]",
        "movaps xmm9, [rsp + 144]",
        "movaps xmm10, [rsp + 160]",
        "movaps xmm11, [rsp + 176]",
        "movaps xmm12, [rsp + 192]",
        "movaps xmm13, [rsp + 208]",
        "movaps xmm14, [rsp + 224]",
        "movaps xmm15, [rsp + 240]",
        "add rsp, 264",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop r10",
        "pop r8",
        "pop r9",
        "pop rsp",
        "jmp 3b",

        // maps the stack first; if that fails the call returns its error
        "8: mov [r11 + 8], rax",
        "mov [r11 + 16], rdi",
        "mov [r11 + 24], rsi",
        "mov [r11 + 32], rdx",
        "mov [r11 + 40], r10",
        "mov [r11 + 48], r8",
        "mov [r11 + 56], r9",
        "mov eax, {mmap}",
        "xor edi, edi",
        "mov esi, {size}",
        "mov edx, {protection}",
        "mov r10d, {flags}",
        "mov r8, -1",
        "xor r9d, r9d",
        "syscall",
        "mov r11, fs:[0]",
        "add r11, [rip + kinject_go_thread@gottpoff]",
        "mov rdi, [r11 + 16]",
        "mov rsi, [r11 + 24]",
        "mov rdx, [r11 + 32]",
        "mov r10, [r11 + 40]",
        "mov r8, [r11 + 48]",
        "mov r9, [r11 + 56]",
        "cmp rax, -4095",
        "ja 3b",
        "lea rcx, [rax + {size}]",
        "mov [r11], rcx",
        "mov rax, [r11 + 8]",
        "jmp 6b",
        limit = const LIMIT,
        set = sym SET,
        success = sym SUCCESS,
        failure = sym FAILURE,
        hook = sym hook,
        mmap = const libc::SYS_mmap,
        size = const SIZE,
        protection = const libc::PROT_READ | libc::PROT_WRITE,
        flags = const libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK,
    );
}

/// Calls the hook; returns what the kernel returns: the result, or a negative error number.
extern "C" fn hook(number: c_long, arguments: &[usize; 6], thread: &mut Thread) -> c_long {
    bind(thread);
    let before = Errno::current();
    let result = match syscall::in_session(number, *arguments) {
        -1 => c_long::from(Errno::current().0).wrapping_neg(),
        result => result,
    };
    before.set();
    result
}
