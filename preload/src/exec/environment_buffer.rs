//! A buffer for a large copy of an environment.
//!
//! A child of vfork(2) shares its parent's memory: what it maps and does not unmap, since its exec succeeded, leaks
//! in the parent. So a thread keeps the buffer: its next child reuses it, and the thread's end unmaps it. There is at
//! most one for each thread. A buffer is free if another process used it last: a thread sleeps while its child of
//! vfork(2) lives, so that child has exec'ed or ended.

use crate::sys;
use crate::thread_key::{Key, ThreadKey};
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use libc::pid_t;

static KEPT: ThreadKey = ThreadKey::new(unmap);

/// The header of the mapping.
struct Header {
    /// The size of the mapping, with the header.
    size: usize,
    /// The process that used it last.
    user: pid_t,
}

/// A buffer for one call. It is unmapped when this is dropped, which happens if the program could not be started.
pub(super) struct EnvironmentBuffer {
    header: NonNull<Header>,
    /// The key under which the thread keeps it; none if it does not.
    kept: Option<Key>,
}

impl EnvironmentBuffer {
    /// A buffer of at least so many bytes, aligned for pointers; none if there is no memory.
    pub(super) fn of_size(size: usize) -> Option<Self> {
        let size = size.checked_add(size_of::<Header>())?;
        let user = sys::process_id();
        let key = KEPT.get().ok().flatten();
        if let Some(key) = key
            && let Some(header) = NonNull::new(key.value().cast::<Header>())
        {
            // SAFETY: the thread keeps nothing else under the key, and only the thread and its children read it
            let found = unsafe { header.as_ptr().read() };
            if found.user == user {
                // a signal handler made this call during another one of this thread
                return Self::map(size, user, None);
            }
            if found.size >= size {
                let taken = Header { user, ..found };
                // SAFETY: as above, and the process that used it has another program or is gone
                unsafe { header.as_ptr().write(taken) };
                return Some(Self {
                    header,
                    kept: Some(key),
                });
            }
            // as long as the key has the value, the thread's end unmaps it again
            if key.set(ptr::null()).is_ok() {
                // SAFETY: nothing uses it any more
                unsafe { sys::unmap_memory(header.as_ptr().cast(), found.size) };
            }
        }
        Self::map(size, user, key)
    }

    fn map(size: usize, user: pid_t, key: Option<Key>) -> Option<Self> {
        let header = NonNull::new(sys::map_memory(size).ok()?.cast::<Header>())?;
        // SAFETY: the mapping is new, aligned to a page and larger
        unsafe { header.as_ptr().write(Header { size, user }) };
        let kept = key.filter(|key| key.set(header.as_ptr().cast()).is_ok());
        Some(Self { header, kept })
    }

    /// Its start.
    pub(super) fn start(&self) -> *mut c_void {
        // SAFETY: the mapping has as many bytes behind the header as were asked for
        unsafe { self.header.as_ptr().add(1) }.cast()
    }
}

impl Drop for EnvironmentBuffer {
    fn drop(&mut self) {
        if let Some(key) = self.kept
            && key.set(ptr::null()).is_err()
        {
            return;
        }
        // SAFETY: the mapping is ours, and no pointer to it is kept
        unsafe { unmap(self.header.as_ptr().cast()) };
    }
}

/// # Safety
///
/// `header` has to be the beginning of such a mapping, which nobody uses any more.
unsafe extern "C" fn unmap(header: *mut c_void) {
    // SAFETY: the caller vouches for it
    let size = unsafe { (*header.cast::<Header>()).size };
    // SAFETY: as above
    unsafe { sys::unmap_memory(header, size) };
}
