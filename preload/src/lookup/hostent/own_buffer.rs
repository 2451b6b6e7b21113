//! Where gethostbyname(3) and gethostbyaddr(3) leave their results: a buffer of each for each thread, which libc frees
//! when the thread ends.
//!
//! It hangs on a pthread key whose destructor is free(3) itself: no code of ours runs at a thread's end. A program
//! without the functions of threads (before glibc 2.34) has one buffer of each.

use super::Refusal;
use super::entry::{self, Content, Room};
use crate::errno::Errno;
use crate::real;
use core::num::NonZeroUsize;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use libc::{c_void, hostent, pthread_key_t};
use once_cell::race::OnceNonZeroUsize;

/// What most names need.
const FIRST_SIZE: usize = 1024;

/// The head of each buffer; the room follows.
struct Head {
    entry: hostent,
    size: usize,
}

/// Whose result it is; one call's does not overwrite the other's.
#[derive(Clone, Copy)]
pub(super) enum User {
    ByName,
    ByAddress,
}

/// The buffer of the calling thread.
pub(super) struct OwnBuffer {
    place: Place,
    head: *mut Head,
}

impl OwnBuffer {
    /// The buffer that this thread has, or a new one.
    pub(super) fn of_this_thread(user: User) -> Result<Self, Refusal> {
        let place = Place::find(user)?;
        let head = place.get();
        if head.is_null() {
            return Self::allocate(place, ptr::null_mut(), FIRST_SIZE);
        }
        Ok(Self { place, head })
    }

    /// Puts an entry there, where it stays until the thread's next call.
    pub(super) fn fill(mut self, content: &Content<'_>) -> Result<*mut hostent, Refusal> {
        loop {
            // SAFETY: the buffer is this thread's alone, and writable for its size
            match unsafe { entry::write(self.room(), content) } {
                Ok(written) => return Ok(self.keep(written)),
                Err(Refusal::TooSmall) => self.grow()?,
                Err(other) => return Err(other),
            }
        }
    }

    /// Makes it twice as large; its content is lost.
    fn grow(&mut self) -> Result<(), Refusal> {
        // SAFETY: the head is this thread's
        let size = unsafe { (*self.head).size }.saturating_mul(2);
        *self = Self::allocate(self.place, self.head, size)?;
        Ok(())
    }

    fn room(&self) -> Room {
        // SAFETY: the head is this thread's
        let size = unsafe { (*self.head).size };
        Room::new(self.head.wrapping_add(1).cast(), size)
    }

    fn keep(&mut self, entry: hostent) -> *mut hostent {
        // SAFETY: the head is this thread's
        let place = unsafe { &raw mut (*self.head).entry };
        // SAFETY: as above
        unsafe { place.write(entry) };
        place
    }

    fn allocate(place: Place, old: *mut Head, size: usize) -> Result<Self, Refusal> {
        let whole = size_of::<Head>().saturating_add(size);
        // SAFETY: any size may be asked for
        let head = unsafe { libc::malloc(whole) }.cast::<Head>();
        if head.is_null() {
            return Err(Refusal::System(Errno(libc::ENOMEM)));
        }
        // SAFETY: the memory is new and large enough
        unsafe { (&raw mut (*head).size).write(size) };
        let put = place.put(head);
        let unused = if put.is_ok() { old } else { head };
        // SAFETY: malloc gave it (or it is null), and the place does not hold it
        unsafe { libc::free(unused.cast()) };
        put.map(|()| Self { place, head })
    }
}

/// What holds a thread's buffer.
#[derive(Clone, Copy)]
enum Place {
    Thread(pthread_key_t),
    Process(&'static AtomicPtr<Head>),
}

/// Where the buffers of one function are found.
struct Anchor {
    /// The key plus one, as a key may be zero.
    key: OnceNonZeroUsize,
    /// The buffer of a program without threads.
    process: AtomicPtr<Head>,
}

impl Anchor {
    const fn new() -> Self {
        Self {
            key: OnceNonZeroUsize::new(),
            process: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

static BY_NAME: Anchor = Anchor::new();
static BY_ADDRESS: Anchor = Anchor::new();

impl Place {
    /// The key is made at the first use; when two threads make one, the second is given back.
    fn find(user: User) -> Result<Self, Refusal> {
        let anchor = match user {
            User::ByName => &BY_NAME,
            User::ByAddress => &BY_ADDRESS,
        };
        let (Some(create), Some(delete)) = (real::pthread_key_create.get(), real::pthread_key_delete.get())
        else {
            return Ok(Self::Process(&anchor.process));
        };
        if let Some(known) = anchor.key.get() {
            return Ok(Self::of(known));
        }
        let mut made: pthread_key_t = 0;
        // SAFETY: the key is writable, and free takes what is stored under it
        let code = unsafe { create(&raw mut made, libc::free) };
        if code != 0 {
            return Err(Refusal::System(Errno(code)));
        }
        let mine = NonZeroUsize::MIN.saturating_add(made as usize);
        let kept = anchor.key.get_or_init(|| mine);
        if kept != mine {
            // SAFETY: the key is ours, and nothing was stored under it
            let _deleted = unsafe { delete(made) };
        }
        Ok(Self::of(kept))
    }

    fn of(key: NonZeroUsize) -> Self {
        Self::Thread(key.get().wrapping_sub(1) as pthread_key_t)
    }

    fn get(self) -> *mut Head {
        match self {
            Self::Thread(key) => match real::pthread_getspecific.get() {
                // SAFETY: the key is never deleted
                Some(get) => unsafe { get(key) }.cast(),
                None => ptr::null_mut(),
            },
            Self::Process(buffer) => buffer.load(Ordering::Relaxed),
        }
    }

    fn put(self, head: *mut Head) -> Result<(), Refusal> {
        match self {
            Self::Thread(key) => {
                let set = real::pthread_setspecific
                    .get()
                    .ok_or(Refusal::System(Errno(libc::ENOSYS)))?;
                // SAFETY: the key is never deleted
                match unsafe { set(key, head.cast::<c_void>()) } {
                    0 => Ok(()),
                    code => Err(Refusal::System(Errno(code))),
                }
            }
            Self::Process(buffer) => {
                buffer.store(head, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}
