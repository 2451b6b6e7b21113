//! Memory: one mapping, of which each allocation takes the next piece and gives none back. The process allocates a dozen
//! times and then becomes the agent.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// Room for the decoder at its limit and for twice the buffers. The kernel gives pages when they are touched.
const SIZE: usize = 48 << 20;

#[global_allocator]
static HEAP: Heap = Heap {
    start: AtomicUsize::new(0),
    taken: AtomicUsize::new(0),
};

/// There is one thread, so nothing here is ordered.
struct Heap {
    start: AtomicUsize,
    taken: AtomicUsize,
}

impl Heap {
    /// The mapping, made by the first allocation.
    fn start(&self) -> Option<usize> {
        match self.start.load(Ordering::Relaxed) {
            0 => {
                let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
                // SAFETY: a new mapping at a place of the kernel's choice touches nobody's memory
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

// SAFETY: each piece is inside of the mapping, aligned as asked for, and given to nobody else
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(start) = self.start() else {
            return ptr::null_mut();
        };
        let begin = (start + self.taken.load(Ordering::Relaxed)).next_multiple_of(layout.align());
        match begin.checked_add(layout.size()) {
            Some(end) if end <= start + SIZE => {
                self.taken.store(end - start, Ordering::Relaxed);
                ptr::with_exposed_provenance_mut(begin)
            }
            _ => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // a piece is given once, and the kernel maps zeros
        // SAFETY: the caller's promise is the same
        unsafe { self.alloc(layout) }
    }
}
