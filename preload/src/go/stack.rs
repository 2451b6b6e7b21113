//! The stacks that hooks run on in threads of Go: one for each thread that needs it, made at its first hook.
//!
//! A thread's stack is found by a variable of the thread, which the dynamic linker laid out beside libc's own: reading it
//! calls nothing, which has to be so while there is no stack yet. A child of vfork(2) has its parent's thread, and
//! uses its stack while that waits.

use crate::memory::PAGE;
use crate::real;
use crate::sys;
use crate::thread_key::ThreadKey;
use core::mem::offset_of;
use libc::c_void;

/// How large a stack is, the page below it included that nobody may touch. Hooks need a few pages, the dynamic linker
/// some more when it looks a function up.
pub(super) const SIZE: usize = 128 * 1024;

/// What a thread knows of its stack.
#[repr(C)]
pub(super) struct Thread {
    /// The end of its stack, from where it grows down; 0 if it has none.
    top: usize,
    /// Room for registers while the stack is made.
    registers: [usize; 7],
    /// Whether the stack goes when the thread ends.
    is_bound: bool,
}

// `enter` has these numbers
const _: () = assert!(offset_of!(Thread, top) == 0 && offset_of!(Thread, registers) == 8);

/// Room for a [`Thread`] in [`enter`](super::enter).
pub(super) const THREAD_SIZE: usize = size_of::<Thread>();

/// Ends a thread's stack.
static KEY: ThreadKey = ThreadKey::new(end);

/// Makes the key, before there are threads and children.
pub(super) fn prepare() {
    // without one, stacks are left behind at the ends of threads
    let _key = KEY.get();
    let _known = real::pthread_setspecific.get();
}

/// Sees to it that the stack which a thread has just got ends with the thread.
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
    // a stack without a guard is as good as long as nothing is wrong
    // SAFETY: the page is the stack's lowest, which nothing uses
    let _guarded = unsafe { sys::protect(end, PAGE, libc::PROT_NONE) };
    // where libc has no room for it, the stack is left behind at the thread's end
    if let Ok(Some(key)) = KEY.get() {
        let _kept = key.keep(core::ptr::from_mut(thread).cast());
    }
}

/// Gives a thread's stack back at the thread's end, where it runs on libc's stack.
unsafe extern "C" fn end(thread: *mut c_void) {
    // SAFETY: libc gives what `guard` set: the variable of this very thread, which still lives
    let thread = unsafe { &mut *thread.cast::<Thread>() };
    let end = thread.top.wrapping_sub(SIZE) as *mut c_void;
    // a hook that another destructor calls gets a new one
    thread.top = 0;
    thread.is_bound = false;
    // SAFETY: the mapping is the stack, and no hook runs on it
    unsafe { sys::unmap_memory(end, SIZE) };
}
