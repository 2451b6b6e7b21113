//! dlsym(3) and dlvsym(3), for functions of libc by a handle.
//!
//! Foreign-function libraries (ctypes, JNA, Ruby's fiddle, .NET's P/Invoke) open `libc.so.6` and look `connect` up by
//! its handle, which gives libc's function, whatever was preloaded. In a session a lookup that finds libc's function
//! for a name with a hook returns the hook, also by the handle of a library that depends on libc. If a library
//! defines a function of that name itself, the lookup returns that one; the address tells them apart.
//!
//! `RTLD_NEXT` asks for the definition behind the caller, which may be the one behind ours. `RTLD_DEFAULT` finds our
//! hooks first, except with a version, since ours have none. For both libc begins at the caller, which it knows from
//! the return address. So these, and names without a hook, continue in libc by a jump.

use crate::link_map::{LIBC, Object};
use core::ffi::CStr;
use core::num::NonZeroUsize;
use core::ptr;
use libc::c_void;

/// The libraries of libc that define functions with hooks; since glibc 2.34 it is one.
const LIBRARIES: [&CStr; 5] = [
    LIBC,
    c"libpthread.so.0",
    c"libresolv.so.2",
    c"libanl.so.1",
    c"libdl.so.2",
];

/// The hook, if libc's lookup of this name found the function that the hook replaces; otherwise what it found.
fn hook_or_found(name: &CStr, hook: NonZeroUsize, found: NonZeroUsize) -> NonZeroUsize {
    match replaces(name, found) {
        Some(true) => hook,
        _ => found,
    }
}

/// Whether our hook of this name replaces libc's function at this address.
fn replaces(name: &CStr, found: NonZeroUsize) -> Option<bool> {
    let mut behind = Object::own()?.up_to_libc().skip(1);
    if let Some(next) = behind.find(|object| object.function(name).is_some()) {
        // a preloaded library between ours and libc would call itself through our hook
        if !is_of_libc(next) {
            return Some(false);
        }
        if next.defines(name, found) {
            return Some(true);
        }
    }
    let object = Object::containing(ptr::with_exposed_provenance(found.get()))?;
    Some(is_of_libc(object) && object.defines(name, found))
}

fn is_of_libc(object: Object) -> bool {
    LIBRARIES.iter().any(|library| object.has_name(library))
}

/// Whether a lookup by this handle may return a hook.
fn may_return_hook(handle: *mut c_void, has_version: bool) -> bool {
    handle != libc::RTLD_NEXT && (handle != libc::RTLD_DEFAULT || has_version)
}

/// Whether libc has to repeat a lookup with a version, from the caller. With `RTLD_DEFAULT` the hook's own lookup
/// finds what libc defines, but not a library that the caller alone sees.
fn is_repeated_from_caller(handle: *mut c_void, has_found: bool) -> bool {
    handle == libc::RTLD_DEFAULT && !has_found
}

#[cfg(not(test))]
mod hooks {
    use super::{hook_or_found, is_repeated_from_caller, may_return_hook};
    use crate::link_map::Object;
    use crate::real;
    use crate::session::Session;
    use core::ffi::CStr;
    use core::num::NonZeroUsize;
    use libc::{c_char, c_void};

    /// How a call continues, in two registers.
    #[repr(C)]
    struct Continuation {
        /// libc's function; 0 if the answer is known.
        native: usize,
        answer: usize,
    }

    impl Continuation {
        fn answered(answer: usize) -> Self {
            Self { native: 0, answer }
        }

        fn native(native: usize) -> Self {
            Self { native, answer: 0 }
        }
    }

    /// The hook of this name, if a lookup by this handle may return it.
    fn hook(
        handle: *mut c_void,
        name: *const c_char,
        has_version: bool,
    ) -> Option<(&'static CStr, NonZeroUsize)> {
        if !may_return_hook(handle, has_version) || name.is_null() {
            return None;
        }
        // SAFETY: libc reads the name as a C string, too, and the caller keeps it for the duration of the call
        let name = unsafe { CStr::from_ptr(name) };
        let hook = Object::own()?.function(name)?;
        Session::current().is_some().then_some((name, hook))
    }

    fn answer(found: *mut c_void, name: &CStr, hook: NonZeroUsize) -> Continuation {
        let found = NonZeroUsize::new(found as usize).map(|found| hook_or_found(name, hook, found));
        Continuation::answered(found.map_or(0, NonZeroUsize::get))
    }

    extern "C" fn dlsym_continuation(handle: *mut c_void, name: *const c_char) -> Continuation {
        let Some(native) = real::dlsym.get() else {
            return Continuation::answered(0);
        };
        let Some((text, hook)) = hook(handle, name, false) else {
            return Continuation::native(native as usize);
        };
        // SAFETY: these are the program's own arguments, and with such a handle the caller makes no difference
        answer(unsafe { native(handle, name) }, text, hook)
    }

    extern "C" fn dlvsym_continuation(
        handle: *mut c_void,
        name: *const c_char,
        version: *const c_char,
    ) -> Continuation {
        let Some(native) = real::dlvsym.get() else {
            return Continuation::answered(0);
        };
        let Some((text, hook)) = hook(handle, name, true) else {
            return Continuation::native(native as usize);
        };
        // SAFETY: as above; with `RTLD_DEFAULT` every caller finds what libc defines, unless another library precedes
        // it
        let found = unsafe { native(handle, name, version) };
        match is_repeated_from_caller(handle, !found.is_null()) {
            true => Continuation::native(native as usize),
            false => answer(found, text, hook),
        }
    }

    macro_rules! continued {
        ($($name:ident => $continuation:ident;)*) => {
            $(
                /// Answers, or continues in libc with everything as it was passed.
                #[unsafe(naked)]
                #[unsafe(no_mangle)]
                unsafe extern "C" fn $name() {
                    #[cfg(target_arch = "x86_64")]
                    core::arch::naked_asm!(
                        "push rdi",
                        "push rsi",
                        "push rdx",
                        "call {continuation}",
                        "mov rcx, rdx",
                        "pop rdx",
                        "pop rsi",
                        "pop rdi",
                        "test rax, rax",
                        "jz 2f",
                        "jmp rax",
                        "2: mov rax, rcx",
                        "ret",
                        continuation = sym $continuation,
                    );
                    #[cfg(target_arch = "aarch64")]
                    core::arch::naked_asm!(
                        "stp x29, x30, [sp, #-48]!",
                        "mov x29, sp",
                        "stp x0, x1, [sp, #16]",
                        "str x2, [sp, #32]",
                        "bl {continuation}",
                        "mov x16, x0",
                        "mov x17, x1",
                        "ldp x0, x1, [sp, #16]",
                        "ldr x2, [sp, #32]",
                        "ldp x29, x30, [sp], #48",
                        "cbz x16, 2f",
                        "br x16",
                        "2: mov x0, x17",
                        "ret",
                        continuation = sym $continuation,
                    );
                }
            )*
        };
    }

    continued! {
        dlsym => dlsym_continuation;
        dlvsym => dlvsym_continuation;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(name: &CStr) -> NonZeroUsize {
        // SAFETY: the name is a C string
        NonZeroUsize::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) } as usize).unwrap()
    }

    #[test]
    fn hook_replaces_libcs_function_of_that_name_and_no_other() {
        let hook = NonZeroUsize::MAX;
        let connect = address(c"connect");
        assert_eq!(hook_or_found(c"connect", hook, connect), hook);
        assert_eq!(hook_or_found(c"getaddrinfo", hook, connect), connect);
        let own = NonZeroUsize::new(address as *const () as usize).unwrap();
        assert_eq!(hook_or_found(c"connect", hook, own), own);
    }

    #[test]
    fn lookup_by_handle_may_return_hook_and_rtld_next_never() {
        let handle = 8 as *mut c_void;
        for (handle, has_version, expected) in [
            (handle, false, true),
            (handle, true, true),
            (libc::RTLD_DEFAULT, false, false),
            (libc::RTLD_DEFAULT, true, true),
            (libc::RTLD_NEXT, false, false),
            (libc::RTLD_NEXT, true, false),
        ] {
            assert_eq!(
                may_return_hook(handle, has_version),
                expected,
                "{handle:?} {has_version}"
            );
        }
    }

    #[test]
    fn lookup_with_version_is_repeated_from_caller_if_rtld_default_finds_nothing() {
        assert!(is_repeated_from_caller(libc::RTLD_DEFAULT, false));
        assert!(!is_repeated_from_caller(libc::RTLD_DEFAULT, true));
        assert!(!is_repeated_from_caller(8 as *mut c_void, false));
    }
}
