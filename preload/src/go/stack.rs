//! The stacks on which hooks run in threads of Go: one for each thread, mapped at its first hook.
//!
//! A thread-local variable of the initial-exec model points to the stack: it is read without a call, for which there
//! would be no stack yet. A child of vfork(2) shares its parent's thread-local variables, and uses the parent's stack
//! while the parent waits.

use crate::memory::PAGE;
use crate::real;
use crate::sys;
use crate::thread_key::ThreadKey;
use core::mem::offset_of;
use libc::c_void;

/// The size of a stack, with its guard page. Hooks need a few pages, and the dynamic linker some more when it looks a
/// function up.
pub(super) const SIZE: usize = 128 * 1024;

/// The thread-local variable.
#[repr(C)]
pub(super) struct Thread {
    /// The end of the stack, from where it grows down; 0 if there is none.
    top: usize,
    /// Registers, while the stack is mapped.
    registers: [usize; 7],
    /// Whether the stack is unmapped at the thread's end.
    is_bound: bool,
}

// `enter` uses these offsets
const _: () = assert!(offset_of!(Thread, top) == 0 && offset_of!(Thread, registers) == 8);

/// The size of [`Thread`] for [`enter`](super::enter).
pub(super) const THREAD_SIZE: usize = size_of::<Thread>();

/// Unmaps a thread's stack at the thread's end.
static KEY: ThreadKey = ThreadKey::new(unmap);

/// Creates the key, before there are threads and children.
pub(super) fn prepare() {
    // without a key the stacks of ended threads stay mapped
    let _key = KEY.get();
    let _known = real::pthread_setspecific.get();
}

/// Arranges that a thread's new stack is unmapped at the thread's end.
#[inline]
pub(super) fn bind(thread: &mut Thread) {
    if !thread.is_bound {
        thread.is_bound = true;
        guard(thread);
    }
}

#[cold]
fn guard(thread: &mut Thread) {
    let end = thread.top.wrapping_sub(SIZE) as *mut c_void;
    // without a guard page a stack works as well, unless it overflows
    // SAFETY: the page is the stack's lowest, which nothing uses
    let _guarded = unsafe { sys::protect(end, PAGE, libc::PROT_NONE) };
    // if libc has no memory for the value, the stack of the ended thread stays mapped
    if let Ok(Some(key)) = KEY.get() {
        let _is_set = key.set(core::ptr::from_mut(thread).cast());
    }
}

/// Unmaps a thread's stack. It runs at the thread's end, on libc's stack.
unsafe extern "C" fn unmap(thread: *mut c_void) {
    // SAFETY: libc passes what `guard` set: the variable of this thread, which still exists
    let thread = unsafe { &mut *thread.cast::<Thread>() };
    let end = thread.top.wrapping_sub(SIZE) as *mut c_void;
    // a hook that a later destructor calls gets a new stack
    thread.top = 0;
    thread.is_bound = false;
    // SAFETY: the mapping is the stack, and no hook runs on it
    unsafe { sys::unmap_memory(end, SIZE) };
}
