//! The buffers for results of gethostbyname(3) and gethostbyaddr(3): each function has one for each thread, which
//! libc frees when the thread ends.
//!
//! A buffer is the value of a pthread key whose destructor is free(3) itself, so no code of ours runs at a thread's
//! end. In a program without libpthread (before glibc 2.34) each function has one buffer.

use super::Refusal;
use super::entry::{self, Content, Space};
use crate::errno::Errno;
use crate::thread_key::{Key, ThreadKey};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use libc::{c_void, hostent};

/// Enough for most names.
const INITIAL_SIZE: usize = 1024;

/// The header of a buffer; the bytes that an entry points to follow.
struct Header {
    entry: hostent,
    size: usize,
}

/// The function whose result it is. The result of one function does not overwrite that of the other.
#[derive(Clone, Copy)]
pub(super) enum Caller {
    ByName,
    ByAddress,
}

/// The buffer of the calling thread.
pub(super) struct OwnBuffer {
    storage: Storage,
    header: *mut Header,
}

impl OwnBuffer {
    /// The buffer that this thread has, or a new one.
    pub(super) fn of_this_thread(caller: Caller) -> Result<Self, Refusal> {
        let storage = Storage::find(caller)?;
        let header = storage.get();
        if header.is_null() {
            return Self::allocate(storage, ptr::null_mut(), INITIAL_SIZE);
        }
        Ok(Self { storage, header })
    }

    /// Writes an entry, which stays until the thread's next call.
    pub(super) fn fill(mut self, content: &Content<'_>) -> Result<*mut hostent, Refusal> {
        loop {
            // SAFETY: the buffer is this thread's alone, and writable for its size
            match unsafe { entry::write(self.space(), content) } {
                Ok(written) => return Ok(self.keep(written)),
                Err(Refusal::TooSmall) => self.grow()?,
                Err(other) => return Err(other),
            }
        }
    }

    /// Makes it twice as large; its content is lost.
    fn grow(&mut self) -> Result<(), Refusal> {
        // SAFETY: the header is this thread's
        let size = unsafe { (*self.header).size }.saturating_mul(2);
        *self = Self::allocate(self.storage, self.header, size)?;
        Ok(())
    }

    fn space(&self) -> Space {
        // SAFETY: the header is this thread's
        let size = unsafe { (*self.header).size };
        Space::new(self.header.wrapping_add(1).cast(), size)
    }

    fn keep(&mut self, entry: hostent) -> *mut hostent {
        // SAFETY: the header is this thread's
        let entry_field = unsafe { &raw mut (*self.header).entry };
        // SAFETY: as above
        unsafe { entry_field.write(entry) };
        entry_field
    }

    fn allocate(storage: Storage, old: *mut Header, size: usize) -> Result<Self, Refusal> {
        let whole = size_of::<Header>().saturating_add(size);
        // SAFETY: any size may be asked for
        let header = unsafe { libc::malloc(whole) }.cast::<Header>();
        if header.is_null() {
            return Err(Refusal::System(Errno(libc::ENOMEM)));
        }
        // SAFETY: the memory is new and large enough
        unsafe { (&raw mut (*header).size).write(size) };
        let stored = storage.set(header);
        let unused = if stored.is_ok() { old } else { header };
        // SAFETY: malloc gave it (or it is null), and the storage does not hold it
        unsafe { libc::free(unused.cast()) };
        stored.map(|()| Self { storage, header })
    }
}

/// Where the pointer to a buffer is stored.
#[derive(Clone, Copy)]
enum Storage {
    Thread(Key),
    Process(&'static AtomicPtr<Header>),
}

/// The buffers of one function.
struct Buffers {
    key: ThreadKey,
    /// The buffer of a program without threads.
    process: AtomicPtr<Header>,
}

impl Buffers {
    const fn new() -> Self {
        Self {
            key: ThreadKey::new(libc::free),
            process: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

static BY_NAME: Buffers = Buffers::new();
static BY_ADDRESS: Buffers = Buffers::new();

impl Storage {
    fn find(caller: Caller) -> Result<Self, Refusal> {
        let buffers = match caller {
            Caller::ByName => &BY_NAME,
            Caller::ByAddress => &BY_ADDRESS,
        };
        let key = buffers.key.get().map_err(Refusal::System)?;
        Ok(key.map_or(Self::Process(&buffers.process), Self::Thread))
    }

    fn get(self) -> *mut Header {
        match self {
            Self::Thread(key) => key.value().cast(),
            Self::Process(buffer) => buffer.load(Ordering::Relaxed),
        }
    }

    fn set(self, header: *mut Header) -> Result<(), Refusal> {
        match self {
            Self::Thread(key) => key.set(header.cast::<c_void>()).map_err(Refusal::System),
            Self::Process(buffer) => {
                buffer.store(header, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}
