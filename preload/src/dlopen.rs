//! dlopen(3) and dlmopen(3), without `RTLD_DEEPBIND`.
//!
//! A library that is opened with the flag looks functions up in itself and its dependencies first. It finds libc's
//! before ours, and would leave the session (PHP opens its extensions so). In a session the hook removes the flag;
//! the library then looks functions up in the order of every other library.
//!
//! A library that dlmopen opens in another namespace has a libc of its own there, and none of our hooks: glibc's
//! namespaces have no preloaded libraries. The user is warned, as of a program that runs outside of the session.
//!
//! A library of the workload's own files is not opened, unless the user allowed it ([`crate::paths`]).
//!
//! libc searches for the file and chooses the namespace by the caller, which it knows from the return address. So
//! both hooks continue in libc by a jump, with the program's return address on the stack.

use libc::{c_int, c_long};

/// The namespace of the program.
const LM_ID_BASE: c_long = 0;

/// The flags with which libc opens a library in the program's own namespace.
fn flags_in_own_namespace(flags: c_int, is_in_session: impl FnOnce() -> bool) -> c_int {
    let is_deep = flags & libc::RTLD_DEEPBIND != 0;
    match is_deep && is_in_session() {
        true => flags & !libc::RTLD_DEEPBIND,
        false => flags,
    }
}

/// How dlmopen(3) goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decision {
    flags: c_int,
    /// Whether the user is warned of the library.
    is_reported: bool,
}

/// Decides by the arguments of dlmopen(3); null opens the program itself.
fn decide(namespace: c_long, has_path: bool, flags: c_int, is_in_session: impl FnOnce() -> bool) -> Decision {
    match namespace {
        LM_ID_BASE => Decision {
            flags: flags_in_own_namespace(flags, is_in_session),
            is_reported: false,
        },
        _ => Decision {
            flags,
            is_reported: has_path,
        },
    }
}

#[cfg(not(test))]
mod hooks {
    use super::{decide, flags_in_own_namespace};
    use crate::exec::report_library;
    use crate::paths::{self, Library, LibraryPath, library_in_session};
    use crate::real;
    use crate::session::Session;
    use libc::{c_char, c_int, c_long};

    /// How a call continues, in two registers.
    #[repr(C)]
    struct Continuation {
        /// libc's function; 0 if the call is over.
        native: usize,
        /// Its flags, or the result of the call.
        flags: usize,
    }

    /// Opens a library below the shadow root, which no search finds, or fails to; none for any other.
    fn open_elsewhere(
        path: *const c_char,
        open: impl FnOnce(*const c_char) -> usize,
    ) -> Option<Continuation> {
        if paths::is_absent() {
            return None;
        }
        let mut buffer = LibraryPath::new();
        match library_in_session(path, &mut buffer) {
            Library::Own => None,
            Library::At(path) | Library::Refused(path) => Some(Continuation {
                native: 0,
                flags: open(path),
            }),
        }
    }

    fn is_in_session() -> bool {
        Session::current().is_some()
    }

    extern "C" fn dlopen_continuation(path: *const c_char, flags: c_int) -> Continuation {
        let Some(native) = real::dlopen.get() else {
            return Continuation { native: 0, flags: 0 };
        };
        let flags = flags_in_own_namespace(flags, is_in_session);
        // SAFETY: the path is a C string that lives until the call is over
        let open = |path| unsafe { native(path, flags) } as usize;
        open_elsewhere(path, open).unwrap_or(Continuation {
            native: native as usize,
            flags: flags as usize,
        })
    }

    extern "C" fn dlmopen_continuation(namespace: c_long, path: *const c_char, flags: c_int) -> Continuation {
        let decision = decide(namespace, !path.is_null(), flags, is_in_session);
        if decision.is_reported {
            report_library(path);
        }
        let Some(native) = real::dlmopen.get() else {
            return Continuation { native: 0, flags: 0 };
        };
        // SAFETY: as above
        let open = |path| unsafe { native(namespace, path, decision.flags) } as usize;
        open_elsewhere(path, open).unwrap_or(Continuation {
            native: native as usize,
            flags: decision.flags as usize,
        })
    }

    /// Continues in libc, or returns the result of a call that is over: null if libc has no such function.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn dlopen() {
        #[cfg(target_arch = "x86_64")]
        core::arch::naked_asm!(
            "push rdi",
            "call {continuation}",
            "pop rdi",
            "mov rsi, rdx",
            "test rax, rax",
            "jz 2f",
            "jmp rax",
            "2: mov rax, rdx",
            "ret",
            continuation = sym dlopen_continuation,
        );
        #[cfg(target_arch = "aarch64")]
        core::arch::naked_asm!(
            "stp x29, x30, [sp, #-32]!",
            "mov x29, sp",
            "str x0, [sp, #16]",
            "bl {continuation}",
            "mov x16, x0",
            "ldr x0, [sp, #16]",
            "ldp x29, x30, [sp], #32",
            "cbz x16, 2f",
            "br x16",
            "2: mov x0, x1",
            "ret",
            continuation = sym dlopen_continuation,
        );
    }

    /// Continues in libc, or returns the result of a call that is over: null if libc has no such function.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn dlmopen() {
        #[cfg(target_arch = "x86_64")]
        core::arch::naked_asm!(
            "push rdi",
            "push rsi",
            "sub rsp, 8",
            "call {continuation}",
            "add rsp, 8",
            "pop rsi",
            "pop rdi",
            "test rax, rax",
            "jz 2f",
            "jmp rax",
            "2: mov rax, rdx",
            "ret",
            continuation = sym dlmopen_continuation,
        );
        #[cfg(target_arch = "aarch64")]
        core::arch::naked_asm!(
            "stp x29, x30, [sp, #-32]!",
            "mov x29, sp",
            "stp x0, x1, [sp, #16]",
            "bl {continuation}",
            "mov x16, x0",
            "mov x2, x1",
            "ldp x0, x1, [sp, #16]",
            "ldp x29, x30, [sp], #32",
            "cbz x16, 2f",
            "br x16",
            "2: mov x0, x2",
            "ret",
            continuation = sym dlmopen_continuation,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAZY: c_int = libc::RTLD_LAZY;
    const DEEP: c_int = libc::RTLD_LAZY | libc::RTLD_DEEPBIND;

    #[test]
    fn deepbind_is_removed_in_a_session_alone() {
        assert_eq!(flags_in_own_namespace(DEEP, || true), LAZY);
        assert_eq!(flags_in_own_namespace(DEEP, || false), DEEP);
        let without = flags_in_own_namespace(LAZY, || panic!("the session was asked for"));
        assert_eq!(without, LAZY);
    }

    #[test]
    fn library_in_another_namespace_is_reported_and_keeps_its_flags() {
        for (namespace, has_path, flags, is_reported) in [
            (LM_ID_BASE, true, LAZY, false),
            (-1, true, DEEP, true),
            (1, true, DEEP, true),
            (-1, false, DEEP, false),
        ] {
            let expected = Decision { flags, is_reported };
            let decision = decide(namespace, has_path, DEEP, || true);
            assert_eq!(decision, expected, "{namespace} {has_path}");
        }
    }
}
