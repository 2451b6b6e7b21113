//! Memory for a large copy of an environment.
//!
//! A child of vfork(2) shares the memory of its parent: what it maps and does not give back, since its exec succeeded, is
//! the parent's for ever. So a thread keeps such memory, and its next child uses it again, or the thread's end gives it
//! back: there is at most one for each thread. It was left behind if another process took it, since the thread sleeps while its
//! child of vfork(2) lives.

use crate::sys;
use crate::thread_key::{Key, ThreadKey};
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use libc::pid_t;

static KEPT: ThreadKey = ThreadKey::new(give_back);

/// What stands at the beginning of the memory.
struct Head {
    /// The size of the mapping, with this.
    size: usize,
    /// The process that took it last.
    user: pid_t,
}

/// Memory for one call. It is given back when this is dropped, as it is when what was started could not be.
pub(super) struct Room {
    head: NonNull<Head>,
    /// Where the thread keeps it; none if it does not.
    kept: Option<Key>,
}

impl Room {
    /// At least so many bytes, aligned for pointers; none if there is no memory.
    pub(super) fn of_size(size: usize) -> Option<Self> {
        let size = size.checked_add(size_of::<Head>())?;
        let user = sys::process_id();
        let key = KEPT.get().ok().flatten();
        if let Some(key) = key
            && let Some(head) = NonNull::new(key.kept().cast::<Head>())
        {
            // SAFETY: the thread keeps nothing else under the key, and nobody but the thread and its children reads it
            let found = unsafe { head.as_ptr().read() };
            if found.user == user {
                // a call of this thread was interrupted by this one
                return Self::map(size, user, None);
            }
            if found.size >= size {
                let taken = Head { user, ..found };
                // SAFETY: as above, and the process that used it has another program or is gone
                unsafe { head.as_ptr().write(taken) };
                return Some(Self {
                    head,
                    kept: Some(key),
                });
            }
            // unless the thread lets go of it, its end would give it back again
            if key.keep(ptr::null()).is_ok() {
                // SAFETY: nothing uses it any more
                unsafe { sys::unmap_memory(head.as_ptr().cast(), found.size) };
            }
        }
        Self::map(size, user, key)
    }

    fn map(size: usize, user: pid_t, key: Option<Key>) -> Option<Self> {
        let head = NonNull::new(sys::map_memory(size).ok()?.cast::<Head>())?;
        // SAFETY: the mapping is new, aligned to a page and has room for it
        unsafe { head.as_ptr().write(Head { size, user }) };
        let kept = key.filter(|key| key.keep(head.as_ptr().cast()).is_ok());
        Some(Self { head, kept })
    }

    /// The memory.
    pub(super) fn start(&self) -> *mut c_void {
        // SAFETY: the mapping has as many bytes behind the head as were asked for
        unsafe { self.head.as_ptr().add(1) }.cast()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(key) = self.kept
            && key.keep(ptr::null()).is_err()
        {
            return;
        }
        // SAFETY: the mapping is ours, and nobody else knows it any more
        unsafe { give_back(self.head.as_ptr().cast()) };
    }
}

/// # Safety
///
/// `head` has to be the beginning of such memory, which nobody uses any more.
unsafe extern "C" fn give_back(head: *mut c_void) {
    // SAFETY: the caller vouches for it
    let size = unsafe { (*head.cast::<Head>()).size };
    // SAFETY: as above
    unsafe { sys::unmap_memory(head, size) };
}
