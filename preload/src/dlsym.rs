//! dlsym(3) and dlvsym(3), for functions of libc by a handle.
//!
//! Foreign-function libraries (ctypes, JNA, Ruby's fiddle, .NET's P/Invoke) open `libc.so.6` and ask its handle for `connect`:
//! the answer is libc's function, whatever was preloaded. In a session whoever gets libc's function for a name that has a hook
//! gets the hook, also by the handle of a library that only depends on libc. A library's own function of that name stays
//! its own, as the address tells.
//!
//! `RTLD_NEXT` is meant to come to what lies behind whoever calls, and may mean to come behind us; `RTLD_DEFAULT` finds our hooks
//! first by itself, unless it is asked for a version, since ours have none. libc looks from where the caller stands, which it
//! sees from the return address. So these, and all names without a hook, continue there by a jump.

use crate::link_map::{LIBC, Object};
use core::ffi::CStr;
use core::num::NonZeroUsize;
use core::ptr;

/// Where functions that have hooks are defined; before glibc 2.34 these are several libraries.
const LIBRARIES: [&CStr; 5] = [
    LIBC,
    c"libpthread.so.0",
    c"libresolv.so.2",
    c"libanl.so.1",
    c"libdl.so.2",
];

/// The hook in whose place libc's function at this address would be called.
fn hook_for(name: &CStr, hook: NonZeroUsize, found: NonZeroUsize) -> NonZeroUsize {
    match replaces(name, found) {
        Some(true) => hook,
        _ => found,
    }
}

/// Whether our hook of this name stands in front of libc's function at this address.
fn replaces(name: &CStr, found: NonZeroUsize) -> Option<bool> {
    let mut behind = Object::own()?.up_to_libc().skip(1);
    if let Some(next) = behind.find(|object| object.function(name).is_some()) {
        // another preloaded library between us and libc would call itself by way of our hook
        if !is_libcs(next) {
            return Some(false);
        }
        if next.defines(name, found) {
            return Some(true);
        }
    }
    let object = Object::containing(ptr::with_exposed_provenance(found.get()))?;
    Some(is_libcs(object) && object.defines(name, found))
}

fn is_libcs(object: Object) -> bool {
    LIBRARIES.iter().any(|library| object.has_name(library))
}

#[cfg(not(test))]
mod hooks {
    use super::hook_for;
    use crate::link_map::Object;
    use crate::real;
    use crate::session::Session;
    use core::ffi::CStr;
    use core::num::NonZeroUsize;
    use libc::{c_char, c_void};

    /// How a call continues, as two registers take it.
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

    /// The hook of this name, where a question by this handle may be answered with it.
    fn hook(handle: *mut c_void, name: *const c_char) -> Option<(&'static CStr, NonZeroUsize)> {
        if handle == libc::RTLD_NEXT || name.is_null() {
            return None;
        }
        // SAFETY: libc reads the name as a C string, too, and whoever calls keeps it for as long as the call lasts
        let name = unsafe { CStr::from_ptr(name) };
        let hook = Object::own()?.function(name)?;
        Session::current().is_some().then_some((name, hook))
    }

    fn answer(found: *mut c_void, name: &CStr, hook: NonZeroUsize) -> Continuation {
        let found = NonZeroUsize::new(found as usize).map(|found| hook_for(name, hook, found));
        Continuation::answered(found.map_or(0, NonZeroUsize::get))
    }

    extern "C" fn dlsym_continuation(handle: *mut c_void, name: *const c_char) -> Continuation {
        let Some(native) = real::dlsym.get() else {
            return Continuation::answered(0);
        };
        if handle == libc::RTLD_DEFAULT {
            return Continuation::native(native as usize);
        }
        let Some((text, hook)) = hook(handle, name) else {
            return Continuation::native(native as usize);
        };
        // SAFETY: these are the program's own arguments, and with such a handle it does not matter who calls
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
        let Some((text, hook)) = hook(handle, name) else {
            return Continuation::native(native as usize);
        };
        // SAFETY: as above; with `RTLD_DEFAULT` all callers find what libc defines, where no other library comes before it
        let found = unsafe { native(handle, name, version) };
        match handle == libc::RTLD_DEFAULT && found.is_null() {
            // it may stand where the caller alone finds it
            true => Continuation::native(native as usize),
            false => answer(found, text, hook),
        }
    }

    macro_rules! continued {
        ($($name:ident => $way:ident;)*) => {
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
                        "call {way}",
                        "mov rcx, rdx",
                        "pop rdx",
                        "pop rsi",
                        "pop rdi",
                        "test rax, rax",
                        "jz 2f",
                        "jmp rax",
                        "2: mov rax, rcx",
                        "ret",
                        way = sym $way,
                    );
                    #[cfg(target_arch = "aarch64")]
                    core::arch::naked_asm!(
                        "stp x29, x30, [sp, #-48]!",
                        "mov x29, sp",
                        "stp x0, x1, [sp, #16]",
                        "str x2, [sp, #32]",
                        "bl {way}",
                        "mov x16, x0",
                        "mov x17, x1",
                        "ldp x0, x1, [sp, #16]",
                        "ldr x2, [sp, #32]",
                        "ldp x29, x30, [sp], #48",
                        "cbz x16, 2f",
                        "br x16",
                        "2: mov x0, x17",
                        "ret",
                        way = sym $way,
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
    fn what_is_not_libcs_function_of_that_name_is_left_alone() {
        let hook = NonZeroUsize::MAX;
        let connect = address(c"connect");
        assert_eq!(hook_for(c"connect", hook, connect), hook);
        assert_eq!(hook_for(c"getaddrinfo", hook, connect), connect);
        let own = NonZeroUsize::new(address as *const () as usize).unwrap();
        assert_eq!(hook_for(c"connect", hook, own), own);
    }
}
