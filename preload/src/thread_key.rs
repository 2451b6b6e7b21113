//! Thread-specific values that a destructor releases at the thread's end (pthread_key_create(3)).

use crate::errno::Errno;
use crate::real;
use core::num::NonZeroUsize;
use core::ptr;
use libc::{c_void, pthread_key_t};
use once_cell::race::OnceNonZeroUsize;

/// A key that is created at its first use and never deleted.
pub(crate) struct ThreadKey {
    /// The key plus one, as a key may be zero.
    known: OnceNonZeroUsize,
    /// Called with a thread's value at the thread's end.
    destructor: unsafe extern "C" fn(*mut c_void),
}

/// A key that was created.
#[derive(Clone, Copy)]
pub(crate) struct Key(pthread_key_t);

impl ThreadKey {
    pub(crate) const fn new(destructor: unsafe extern "C" fn(*mut c_void)) -> Self {
        Self {
            known: OnceNonZeroUsize::new(),
            destructor,
        }
    }

    /// The key; none in a program without libpthread (before glibc 2.34). If two threads create one at the same time,
    /// the second is deleted.
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

    /// The calling thread's value; null if there is none.
    pub(crate) fn value(self) -> *mut c_void {
        match real::pthread_getspecific.get() {
            // SAFETY: the key is never deleted
            Some(get) => unsafe { get(self.0) },
            None => ptr::null_mut(),
        }
    }

    /// Sets the calling thread's value, which the destructor gets.
    pub(crate) fn set(self, value: *const c_void) -> Result<(), Errno> {
        let set = real::pthread_setspecific.get().ok_or(Errno(libc::ENOSYS))?;
        // SAFETY: the key is never deleted
        match unsafe { set(self.0, value) } {
            0 => Ok(()),
            code => Err(Errno(code)),
        }
    }
}
