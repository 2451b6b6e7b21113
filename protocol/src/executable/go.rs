//! Programs of Go, which make their system calls without libc, by one instruction of their code.
//!
//! Since Go 1.19 every system call of a program, as opposed to those of Go's runtime, goes through one function,
//! `Syscall6` of the package `runtime/internal/syscall` (`internal/runtime/syscall` later). It is written in assembly
//! language, so each release has the same bytes. The library redirects that one instruction into its hooks, if the
//! program's threads are libc's, as they are with cgo: Go's own threads have no thread-local storage of libc's.

use super::File;
use super::elf::Image;
#[cfg(target_arch = "x86_64")]
use super::search;

/// The instructions that follow identify the call: results below -4095 are no errors, and others are negated.
#[cfg(target_arch = "x86_64")]
mod code {
    /// `syscall`, `cmp $-4095, %rax`, and the first byte of `jbe`.
    pub(super) const BEGIN: &[u8] = b"\x0f\x05\x48\x3d\x01\xf0\xff\xff\x76";
    /// `neg %rax`, one byte after.
    pub(super) const END: &[u8] = b"\x48\xf7\xd8";
}

/// The symbol of the function by which a Go program makes libc's threads.
pub const THREADS: &[u8] = b"pthread_create\0";

/// How many bytes of code identify the call and may be replaced: the system call, the comparison for errors, and the
/// first instruction of the error path.
pub const REPLACEABLE: usize = 13;

/// Where a Go program makes its system calls, as offsets into its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemCall {
    /// The instruction, and [`REPLACEABLE`] bytes from it on.
    pub begin: usize,
    /// Where the code goes on with a result that is no error.
    pub success: usize,
    /// Where it goes on with an error number that is positive already.
    pub failure: usize,
}

/// Finds the system call in a part of a program's code; `find` is memmem(3), as in [`File::find`].
#[cfg(target_arch = "x86_64")]
#[inline]
pub fn system_call(code: &[u8], mut find: impl FnMut(&[u8], &[u8]) -> Option<usize>) -> Option<SystemCall> {
    let mut from: usize = 0;
    loop {
        let begin = from.checked_add(find(code.get(from..)?, code::BEGIN)?)?;
        let displacement = begin.checked_add(code::BEGIN.len())?;
        let jump_end = displacement.checked_add(1)?;
        if code.get(jump_end..)?.starts_with(code::END) {
            let forward = i8::from_le_bytes([*code.get(displacement)?]);
            return Some(SystemCall {
                begin,
                success: jump_end.checked_add_signed(isize::from(forward))?,
                failure: begin.checked_add(REPLACEABLE)?,
            });
        }
        from = displacement;
    }
}

/// Whether the library can redirect this program's system calls into its hooks; in doubt no.
#[cfg(target_arch = "x86_64")]
pub(super) fn is_open<F: File>(image: &Image<'_, F>) -> bool {
    const IN_DOUBT: bool = false;
    let makes_threads = |names| {
        search::any(image.file, names, IN_DOUBT, |chunk| {
            image.file.find(chunk, THREADS).is_some()
        })
    };
    let calls = |code| {
        search::any(image.file, code, IN_DOUBT, |chunk| {
            system_call(chunk, |code, needle| image.file.find(code, needle)).is_some()
        })
    };
    image.dynamic_names().is_some_and(makes_threads) && image.code().any(calls)
}

/// Whether the library can redirect this program's system calls into its hooks.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_open<F: File>(_: &Image<'_, F>) -> bool {
    false
}
