//! Where gethostbyname(3) and gethostbyaddr(3) leave their results: a buffer of each for each thread, which libc frees
//! when the thread ends.
//!
//! It hangs on a pthread key whose destructor is free(3) itself: no code of ours runs at a thread's end. A program
//! without the functions of threads (before glibc 2.34) has one buffer of each.

use super::Refusal;
use super::entry::{self, Content, Room};
use crate::errno::Errno;
use crate::thread_key::{Key, ThreadKey};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use libc::{c_void, hostent};

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
    place: Storage,
    head: *mut Head,
}

impl OwnBuffer {
    /// The buffer that this thread has, or a new one.
    pub(super) fn of_this_thread(user: User) -> Result<Self, Refusal> {
        let place = Storage::find(user)?;
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

    fn allocate(place: Storage, old: *mut Head, size: usize) -> Result<Self, Refusal> {
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
enum Storage {
    Thread(Key),
    Process(&'static AtomicPtr<Head>),
}

/// Where the buffers of one function are found.
struct Anchor {
    key: ThreadKey,
    /// The buffer of a program without threads.
    process: AtomicPtr<Head>,
}

impl Anchor {
    const fn new() -> Self {
        Self {
            key: ThreadKey::new(libc::free),
            process: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

static BY_NAME: Anchor = Anchor::new();
static BY_ADDRESS: Anchor = Anchor::new();

impl Storage {
    fn find(user: User) -> Result<Self, Refusal> {
        let anchor = match user {
            User::ByName => &BY_NAME,
            User::ByAddress => &BY_ADDRESS,
        };
        let key = anchor.key.get().map_err(Refusal::System)?;
        Ok(key.map_or(Self::Process(&anchor.process), Self::Thread))
    }

    fn get(self) -> *mut Head {
        match self {
            Self::Thread(key) => key.kept().cast(),
            Self::Process(buffer) => buffer.load(Ordering::Relaxed),
        }
    }

    fn put(self, head: *mut Head) -> Result<(), Refusal> {
        match self {
            Self::Thread(key) => key.keep(head.cast::<c_void>()).map_err(Refusal::System),
            Self::Process(buffer) => {
                buffer.store(head, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}
