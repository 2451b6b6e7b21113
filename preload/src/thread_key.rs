//! What a thread keeps until it ends (pthread_key_create(3)).

use crate::errno::Errno;
use crate::real;
use core::num::NonZeroUsize;
use core::ptr;
use libc::{c_void, pthread_key_t};
use once_cell::race::OnceNonZeroUsize;

/// A key that is made at its first use and never deleted.
pub(crate) struct ThreadKey {
    /// The key plus one, as a key may be zero.
    known: OnceNonZeroUsize,
    /// Gets what a thread has kept when it ends.
    destructor: unsafe extern "C" fn(*mut c_void),
}

/// A key that is there.
#[derive(Clone, Copy)]
pub(crate) struct Key(pthread_key_t);

impl ThreadKey {
    pub(crate) const fn new(destructor: unsafe extern "C" fn(*mut c_void)) -> Self {
        Self {
            known: OnceNonZeroUsize::new(),
            destructor,
        }
    }

    /// The key; none in a program without the functions of threads (before glibc 2.34). When two threads make one, the
    /// second is given back.
    pub(crate) fn get(&self) -> Result<Option<Key>, Errno> {
        let (Some(create), Some(delete)) = (real::pthread_key_create.get(), real::pthread_key_delete.get())
        else {
            return Ok(None);
        };
        if let Some(known) = self.known.get() {
            return Ok(Some(Key::of(known)));
        }
        let mut made: pthread_key_t = 0;
        // SAFETY: the key is writable, and the destructor is a function that stays
        let code = unsafe { create(&raw mut made, self.destructor) };
        if code != 0 {
            return Err(Errno(code));
        }
        let mine = NonZeroUsize::MIN.saturating_add(made as usize);
        let kept = self.known.get_or_init(|| mine);
        if kept != mine {
            // SAFETY: the key is ours, and nothing was stored under it
            let _deleted = unsafe { delete(made) };
        }
        Ok(Some(Key::of(kept)))
    }
}

impl Key {
    fn of(known: NonZeroUsize) -> Self {
        Self(known.get().wrapping_sub(1) as pthread_key_t)
    }

    /// What the calling thread keeps; null if nothing.
    pub(crate) fn kept(self) -> *mut c_void {
        match real::pthread_getspecific.get() {
            // SAFETY: the key is never deleted
            Some(get) => unsafe { get(self.0) },
            None => ptr::null_mut(),
        }
    }

    /// Lets the calling thread keep this; it is for the destructor to understand.
    pub(crate) fn keep(self, value: *const c_void) -> Result<(), Errno> {
        let set = real::pthread_setspecific.get().ok_or(Errno(libc::ENOSYS))?;
        // SAFETY: the key is never deleted
        match unsafe { set(self.0, value) } {
            0 => Ok(()),
            code => Err(Errno(code)),
        }
    }
}
