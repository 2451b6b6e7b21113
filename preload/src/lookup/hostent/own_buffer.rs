//! Where gethostbyname(3) leaves its result: a buffer for each thread, which libc frees when the thread ends.
//!
//! It hangs on a pthread key whose destructor is free(3) itself: no code of ours runs at a thread's end.

use super::Refusal;
use super::entry::Room;
use crate::errno::Errno;
use core::num::NonZeroUsize;
use core::ptr;
use libc::{c_void, hostent, pthread_key_t};
use once_cell::race::OnceNonZeroUsize;

/// What most names need.
const FIRST_SIZE: usize = 1024;

/// The key plus one, as a key may be zero.
static KEY: OnceNonZeroUsize = OnceNonZeroUsize::new();

/// The head of each buffer; the room follows.
struct Head {
    entry: hostent,
    size: usize,
}

/// The buffer of the calling thread.
pub(super) struct OwnBuffer {
    key: pthread_key_t,
    head: *mut Head,
}

impl OwnBuffer {
    /// The buffer that this thread has, or a new one.
    pub(super) fn of_this_thread() -> Result<Self, Refusal> {
        let key = key()?;
        // SAFETY: the key is never deleted
        let head = unsafe { libc::pthread_getspecific(key) }.cast::<Head>();
        if head.is_null() {
            return Self::allocate(key, ptr::null_mut(), FIRST_SIZE);
        }
        Ok(Self { key, head })
    }

    /// Makes it twice as large; its content is lost.
    pub(super) fn grow(&mut self) -> Result<(), Refusal> {
        // SAFETY: the head is this thread's
        let size = unsafe { (*self.head).size }.saturating_mul(2);
        *self = Self::allocate(self.key, self.head, size)?;
        Ok(())
    }

    pub(super) fn room(&self) -> Room {
        // SAFETY: the head is this thread's
        let size = unsafe { (*self.head).size };
        Room::new(self.head.wrapping_add(1).cast(), size)
    }

    /// Puts the entry where it stays until the thread's next call.
    pub(super) fn keep(&mut self, entry: hostent) -> *mut hostent {
        // SAFETY: the head is this thread's
        let place = unsafe { &raw mut (*self.head).entry };
        // SAFETY: as above
        unsafe { place.write(entry) };
        place
    }

    fn allocate(key: pthread_key_t, old: *mut Head, size: usize) -> Result<Self, Refusal> {
        let whole = size_of::<Head>().saturating_add(size);
        // SAFETY: any size may be asked for
        let head = unsafe { libc::malloc(whole) }.cast::<Head>();
        if head.is_null() {
            return Err(Refusal::System(Errno(libc::ENOMEM)));
        }
        // SAFETY: the memory is new and large enough
        unsafe { (&raw mut (*head).size).write(size) };
        // SAFETY: the key is never deleted
        let code = unsafe { libc::pthread_setspecific(key, head.cast::<c_void>()) };
        let unused = if code == 0 { old } else { head };
        // SAFETY: malloc gave it (or it is null), and the key does not hold it
        unsafe { libc::free(unused.cast()) };
        if code == 0 {
            Ok(Self { key, head })
        } else {
            Err(Refusal::System(Errno(code)))
        }
    }
}

/// The key, made at the first use; when two threads make one, the second is given back.
fn key() -> Result<pthread_key_t, Refusal> {
    let known = match KEY.get() {
        Some(known) => known,
        None => make_key()?,
    };
    Ok(known.get().wrapping_sub(1) as pthread_key_t)
}

fn make_key() -> Result<NonZeroUsize, Refusal> {
    let mut made: pthread_key_t = 0;
    // SAFETY: the key is writable, and free takes what allocate stores under it
    let code = unsafe { libc::pthread_key_create(&raw mut made, Some(libc::free)) };
    if code != 0 {
        return Err(Refusal::System(Errno(code)));
    }
    let mine = NonZeroUsize::MIN.saturating_add(made as usize);
    let kept = KEY.get_or_init(|| mine);
    if kept != mine {
        // SAFETY: the key is ours, and nothing was stored under it
        let _deleted = unsafe { libc::pthread_key_delete(made) };
    }
    Ok(kept)
}
