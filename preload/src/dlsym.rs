//! dlsym(3) and dlvsym(3).
//!
//! Foreign-function libraries (ctypes, JNA, koffi, P/Invoke) open libc and look its functions up by that handle, where the
//! dynamic linker finds libc's own and not those that are preloaded. So where libc's own function is what a handle gives, and
//! there is a hook for it, the program gets the hook. Whatever else a handle gives, a library's own function of that name for
//! example, is the program's.
//!
//! `RTLD_DEFAULT` and `RTLD_NEXT` find our hooks by themselves. libc judges them by who calls, which it sees from the return
//! address, so this continues there by a jump: the program's own return address stays where it is.
//!
//! dlerror(3) is the program's, too: what it asked for is looked up last.
#![cfg(not(test))]

use crate::loaded;
use crate::real;
use crate::session::Session;
use core::ptr;
use libc::{c_char, c_void};

/// Where libc has, or had before glibc 2.34, the functions that hooks stand in front of: C strings one behind the other, the
/// last one empty, since an array of pointers would be adjusted at every exec.
const LIBRARIES: &[u8] = b"libc.so.6\0libpthread.so.0\0libresolv.so.2\0libanl.so.1\0libdl.so.2\0\0";

/// The function to jump to; null if there is none.
type Native = *const c_void;

/// How a lookup goes on.
#[repr(C)]
struct Next {
    native: Native,
    /// The hook that the program gets. Null: what libc gives it.
    hook: *mut c_void,
}

/// What the program asked for.
#[derive(Clone, Copy)]
struct Lookup {
    handle: *mut c_void,
    name: *const c_char,
    /// Null for dlsym(3).
    version: *const c_char,
}

extern "C" fn next_dlsym(handle: *mut c_void, name: *const c_char) -> Next {
    let native = real::dlsym();
    Next {
        native: native.map_or(ptr::null(), |native| native as Native),
        hook: hook(Lookup {
            handle,
            name,
            version: ptr::null(),
        }),
    }
}

extern "C" fn next_dlvsym(handle: *mut c_void, name: *const c_char, version: *const c_char) -> Next {
    let native = real::dlvsym.get();
    Next {
        native: native.map_or(ptr::null(), |native| native as Native),
        hook: hook(Lookup {
            handle,
            name,
            version,
        }),
    }
}

/// The hook in front of what this finds, if that is libc's; null otherwise.
fn hook(lookup: Lookup) -> *mut c_void {
    let goes_by_caller = lookup.handle == libc::RTLD_DEFAULT || lookup.handle == libc::RTLD_NEXT;
    if goes_by_caller || lookup.name.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: the name is not null, and so the program's C string
    match unsafe { loaded::own_definition(lookup.name) } {
        Some(hook) if Session::current().is_some() && lookup.finds_libcs() => hook.get() as *mut c_void,
        _ => ptr::null_mut(),
    }
}

impl Lookup {
    /// Whether one of libc's libraries in our own namespace (dlmopen(3)) has what this finds.
    fn finds_libcs(self) -> bool {
        let found = self.within(self.handle);
        if found.is_null() {
            return false;
        }
        let mut library = LIBRARIES.as_ptr().cast::<c_char>();
        loop {
            // SAFETY: this is one of the C strings, of which the last is empty
            let length = unsafe { libc::strlen(library) };
            if length == 0 {
                return false;
            }
            // SAFETY: as above
            if unsafe { self.finds_in(library) } == found {
                return true;
            }
            library = library.wrapping_add(length).wrapping_add(1);
        }
    }

    /// What it would find in a library, if that is loaded.
    ///
    /// # Safety
    ///
    /// `library` has to point to a C string.
    unsafe fn finds_in(self, library: *const c_char) -> *mut c_void {
        // SAFETY: the caller vouches for the name, and a library that is not loaded is not loaded by this
        let handle = unsafe { libc::dlopen(library, libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        if handle.is_null() {
            return ptr::null_mut();
        }
        let found = self.within(handle);
        // SAFETY: dlopen gave the handle, which is used no more; whoever loaded the library keeps it
        unsafe { libc::dlclose(handle) };
        found
    }

    fn within(self, handle: *mut c_void) -> *mut c_void {
        if self.version.is_null() {
            return match real::dlsym() {
                // SAFETY: the handle is the program's or dlopen's, and the name is the program's
                Some(dlsym) => unsafe { dlsym(handle, self.name) },
                None => ptr::null_mut(),
            };
        }
        match real::dlvsym.get() {
            // SAFETY: as above, and so is the version
            Some(dlvsym) => unsafe { dlvsym(handle, self.name, self.version) },
            None => ptr::null_mut(),
        }
    }
}

/// Continues in libc; null where libc has no such function. What gives a hook is looked up all the same, and last.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn dlsym() {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!(
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {next}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "test rax, rax",
        "jz 2f",
        "test rdx, rdx",
        "jnz 3f",
        "jmp rax",
        "3: push rdx",
        "call rax",
        "pop rax",
        "2: ret",
        next = sym next_dlsym,
    );
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!(
        "stp x29, x30, [sp, #-32]!",
        "mov x29, sp",
        "stp x0, x1, [sp, #16]",
        "bl {next}",
        "mov x16, x0",
        "mov x17, x1",
        "ldp x0, x1, [sp, #16]",
        "cbz x16, 2f",
        "cbnz x17, 3f",
        "ldp x29, x30, [sp], #32",
        "br x16",
        "3: str x17, [sp, #16]",
        "blr x16",
        "ldr x0, [sp, #16]",
        "ldp x29, x30, [sp], #32",
        "ret",
        "2: ldp x29, x30, [sp], #32",
        "mov x0, #0",
        "ret",
        next = sym next_dlsym,
    );
}

/// The same with a version.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn dlvsym() {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!(
        "push rdi",
        "push rsi",
        "push rdx",
        "call {next}",
        "mov rcx, rdx",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "test rax, rax",
        "jz 2f",
        "test rcx, rcx",
        "jnz 3f",
        "jmp rax",
        "3: push rcx",
        "call rax",
        "pop rax",
        "2: ret",
        next = sym next_dlvsym,
    );
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!(
        "stp x29, x30, [sp, #-48]!",
        "mov x29, sp",
        "stp x0, x1, [sp, #16]",
        "str x2, [sp, #32]",
        "bl {next}",
        "mov x16, x0",
        "mov x17, x1",
        "ldp x0, x1, [sp, #16]",
        "ldr x2, [sp, #32]",
        "cbz x16, 2f",
        "cbnz x17, 3f",
        "ldp x29, x30, [sp], #48",
        "br x16",
        "3: str x17, [sp, #16]",
        "blr x16",
        "ldr x0, [sp, #16]",
        "ldp x29, x30, [sp], #48",
        "ret",
        "2: ldp x29, x30, [sp], #48",
        "mov x0, #0",
        "ret",
        next = sym next_dlvsym,
    );
}
