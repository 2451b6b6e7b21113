//! Standard descriptors that were closed when kinject was started.
//!
//! Before `main`, Rust's runtime opens `/dev/null` in place of each of descriptors 0 to 2 that is closed, for the sake
//! of what this process opens later. The program is to find them as kinject did, so a constructor looks before the
//! runtime does, and the program's process closes them again.

use std::sync::atomic::{AtomicU8, Ordering};

/// A bit for each descriptor that was closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Run by the dynamic linker, or by libc's start-up code where there is none, before `main` and so before the runtime.
#[used]
// SAFETY: the section holds pointers to functions of this type, and `look` needs nothing of the runtime
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = look;

extern "C" fn look() {
    for descriptor in 0..3 {
        // SAFETY: the call has no preconditions; it fails for a descriptor that is closed
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1 {
            CLOSED.fetch_or(1 << descriptor, Ordering::Relaxed);
        }
    }
}

/// Closes what was closed at the start. For a new process that is about to become the program.
pub(crate) fn close_what_was_closed() {
    let closed = CLOSED.load(Ordering::Relaxed);
    for descriptor in 0..3 {
        if closed & (1 << descriptor) != 0 {
            // SAFETY: nothing in this process owns the descriptor: it is the runtime's stand-in
            let _closed = unsafe { libc::close(descriptor) };
        }
    }
}
