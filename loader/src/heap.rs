//! The allocator: a bump allocator over one mapping that frees nothing. The loader allocates about a dozen times before
//! it executes the agent.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// The size of the mapping: room for the decoder at its memory limit, and for the buffers twice (for two attempts). The
/// kernel allocates pages when they are first used.
const SIZE: usize = 48 << 20;

#[global_allocator]
static HEAP: Heap = Heap {
    start: AtomicUsize::new(0),
    used: AtomicUsize::new(0),
};

/// The mapping. The process has one thread, so relaxed ordering suffices.
struct Heap {
    start: AtomicUsize,
    used: AtomicUsize,
}

impl Heap {
    /// The address of the mapping, which the first allocation creates.
    fn start(&self) -> Option<usize> {
        match self.start.load(Ordering::Relaxed) {
            0 => {
                let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
                // SAFETY: the kernel chooses the address, so the mapping overlaps no other one
                let mapped = unsafe {
                    mmap_anonymous(ptr::null_mut(), SIZE, ProtFlags::READ | ProtFlags::WRITE, flags)
                };
                let start = mapped.ok()?.expose_provenance();
                self.start.store(start, Ordering::Relaxed);
                Some(start)
            }
            start => Some(start),
        }
    }
}

// SAFETY: each block is inside the mapping, is aligned as requested, and overlaps no other block
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(start) = self.start() else {
            return ptr::null_mut();
        };
        let begin = (start + self.used.load(Ordering::Relaxed)).next_multiple_of(layout.align());
        match begin.checked_add(layout.size()) {
            Some(end) if end <= start + SIZE => {
                self.used.store(end - start, Ordering::Relaxed);
                ptr::with_exposed_provenance_mut(begin)
            }
            _ => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // no block is used twice, and the kernel fills the mapping with zeros
        // SAFETY: the caller's promise is the same
        unsafe { self.alloc(layout) }
    }
}
