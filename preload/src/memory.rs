//! Whether memory that the program points to can be read and written.
//!
//! A pointer for which a system call returns `EFAULT` must not crash the program because a hook dereferences it. So
//! the hooks ask the kernel first, by the cheapest call that reads memory and has no other effect: rt_sigprocmask(2)
//! with an invalid operation. It copies eight bytes and then returns `EINVAL`. If a sandbox answers that call
//! instead, process_vm_readv(2) of our own memory tells, at three times the cost. futex(2), which atomically adds
//! zero to a word, tells whether memory can be written.
//!
//! Most pointers need no system call. They point to the stack, between our own frame and the stack's top, which is
//! known of the first thread's stack, and of every other to the end of our own page. Or they point to the heap, which
//! begins where it ended when our constructor ran, and ends where libc says (sbrk(3)).

use crate::errno::Errno;
use crate::sys;
use core::sync::atomic::{AtomicUsize, Ordering};
use libc::{c_char, c_void};

/// The smallest page there is, on x86-64 every page; memory within one is readable as a whole or not at all.
pub(crate) const PAGE: usize = 4096;

/// The kernel maps nothing else within this distance below the top of the first thread's stack.
const STACK_RANGE: usize = 1024 * 1024;

/// An address near the top of the first thread's stack. Zero before our constructor ran: then the kernel is asked.
static FIRST_STACK: AtomicUsize = AtomicUsize::new(0);

/// The end of the heap when our constructor ran. Zero before.
static FIRST_HEAP_END: AtomicUsize = AtomicUsize::new(0);

/// Records the layout. Our constructor calls this with the environment, which the kernel put at the top of the stack.
pub(crate) fn record_layout(environment: *const c_void) {
    FIRST_STACK.store(environment as usize, Ordering::Relaxed);
    FIRST_HEAP_END.store(heap_end(), Ordering::Relaxed);
}

/// Can `length` bytes at `address` be read? At least one, and at most a page.
#[inline]
pub(crate) fn is_readable(address: *const c_void, length: usize) -> bool {
    let last = address.wrapping_byte_add(length.saturating_sub(1));
    is_on_own_stack(address, last, FIRST_STACK.load(Ordering::Relaxed))
        || is_on_heap(address, last, FIRST_HEAP_END.load(Ordering::Relaxed), heap_end())
        || (is_readable_for_kernel(address)
            && (page_of(address) == page_of(last) || is_readable_for_kernel(last)))
}

/// Can a C string of at most `PATH_MAX` bytes be read from here, or as many bytes without a null?
pub(crate) fn is_path_readable(path: *const c_char) -> bool {
    let mut next = path.cast::<u8>();
    let mut left = libc::PATH_MAX as usize;
    while left > 0 {
        if !is_readable(next.cast(), 1) {
            return false;
        }
        let in_page = left.min(PAGE - next as usize % PAGE);
        for _ in 0..in_page {
            // SAFETY: the page can be read
            if unsafe { *next } == 0 {
                return true;
            }
            next = next.wrapping_add(1);
        }
        left = left.wrapping_sub(in_page);
    }
    true
}

/// Can `length` bytes at `address` be written? At least one, and at most a page. The bytes keep their values
/// throughout.
#[inline]
pub(crate) fn is_writable(address: *mut c_void, length: usize) -> bool {
    let last = address.wrapping_byte_add(length.saturating_sub(1));
    is_word_writable(address) && (page_of(address) == page_of(last) || is_word_writable(last))
}

/// If a sandbox forbids the call the word is taken to be writable.
fn is_word_writable(address: *mut c_void) -> bool {
    // an aligned word lies within one page
    let word = address.wrapping_byte_sub(address as usize % size_of::<u32>());
    sys::add_zero(word.cast()) != Err(Errno(libc::EFAULT))
}

/// The first position of `needle` in `haystack` (memmem(3)).
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let (start, wanted) = (haystack.as_ptr(), needle.as_ptr());
    // SAFETY: both are readable for their lengths
    let found = unsafe { libc::memmem(start.cast(), haystack.len(), wanted.cast(), needle.len()) };
    // within the haystack, or null
    (found as usize).checked_sub(start as usize)
}

/// Whether all of it certainly lies on the current stack.
#[inline]
fn is_on_own_stack(first: *const c_void, last: *const c_void, top: usize) -> bool {
    let frame = 0_u8;
    let current = (&raw const frame).cast();
    if page_of(first) == page_of(current) && page_of(last) == page_of(current) {
        return true;
    }
    let (current, first, last) = (current as usize, first as usize, last as usize);
    // a stack is one mapping, and a frame within that distance below the first stack's top is on it
    current <= first && first <= last && last < top && top.wrapping_sub(current) < STACK_RANGE
}

/// Whether all of it lies in the part of the heap between its former end, `start`, and its end.
#[inline]
fn is_on_heap(first: *const c_void, last: *const c_void, start: usize, end: usize) -> bool {
    let (first, last) = (first as usize, last as usize);
    start != 0 && start <= first && first <= last && last < end
}

/// The end of libc's heap, which libc knows without a system call. A failure is `usize::MAX`, where no heap ends.
fn heap_end() -> usize {
    // SAFETY: an increment of zero moves nothing
    let end = unsafe { libc::sbrk(0) } as usize;
    if end == usize::MAX { 0 } else { end }
}

fn page_of(address: *const c_void) -> usize {
    address as usize / PAGE
}

#[inline]
fn is_readable_for_kernel(address: *const c_void) -> bool {
    match sys::read_signal_set(address) {
        Err(Errno(libc::EINVAL)) => true,
        Err(Errno(libc::EFAULT)) => false,
        _ => is_byte_readable(address),
    }
}

#[cold]
fn is_byte_readable(address: *const c_void) -> bool {
    // if a sandbox forbids the call the byte is taken to be readable
    sys::read_own_memory(address, &mut [0]) != Err(Errno(libc::EFAULT))
}

/// Which pages can be read, for loops over many small objects: the kernel is asked once for consecutive ones in a page.
pub(crate) struct Pages {
    known: Option<usize>,
}

impl Pages {
    pub(crate) fn new() -> Self {
        Self { known: None }
    }

    /// Can this byte be read?
    #[inline]
    pub(crate) fn is_readable(&mut self, address: *const c_void) -> bool {
        let page = page_of(address);
        if self.known == Some(page) {
            return true;
        }
        let readable = is_readable_for_kernel(address);
        if readable {
            self.known = Some(page);
        }
        readable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr;

    /// Two pages, of which the second cannot be read.
    fn half_a_mapping() -> *mut c_void {
        // SAFETY: a mapping at an address that the kernel chooses touches no other
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                2 * PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED);
        let second = start.wrapping_byte_add(PAGE);
        // SAFETY: nothing else knows of the mapping
        let hidden = unsafe { libc::mprotect(second, PAGE, libc::PROT_NONE) };
        assert_eq!(hidden, 0);
        start
    }

    #[test]
    fn memory_is_readable_up_to_an_unreadable_page() {
        let start = half_a_mapping();
        let end = start.wrapping_byte_add(PAGE);
        for length in 1..=16 {
            assert!(is_readable(start, length));
            assert!(is_readable(end.wrapping_byte_sub(length), length));
            assert!(!is_readable(end.wrapping_byte_sub(length), length + 1));
            assert!(!is_readable(end, length));
        }
        assert!(!is_readable(ptr::null(), 16));
        assert!(!is_readable(ptr::without_provenance(usize::MAX), 16));
        assert!(!is_readable(ptr::without_provenance(usize::MAX - 15), 16));
    }

    #[test]
    fn path_is_readable_up_to_an_unreadable_page_if_a_null_ends_it_before() {
        let start = half_a_mapping();
        let end = start.wrapping_byte_add(PAGE).cast::<c_char>();
        // SAFETY: the first page is ours and writable
        unsafe { start.cast::<u8>().write_bytes(b'a', PAGE) };
        assert!(!is_path_readable(end.wrapping_sub(8)) && !is_path_readable(end));
        // SAFETY: as above
        unsafe { *end.wrapping_sub(1) = 0 };
        assert!(is_path_readable(end.wrapping_sub(8)) && is_path_readable(start.cast()));
        for invalid in [0, 8, usize::MAX, usize::MAX - 4000] {
            assert!(!is_path_readable(ptr::without_provenance(invalid)), "{invalid}");
        }
    }

    #[test]
    fn memory_is_writable_up_to_an_unwritable_page_and_keeps_its_content() {
        let start = half_a_mapping();
        let end = start.wrapping_byte_add(PAGE);
        // SAFETY: the first page is ours and writable
        unsafe { start.cast::<u8>().write_bytes(0xa5, PAGE) };
        for length in 1..=16 {
            assert!(is_writable(start, length));
            assert!(is_writable(end.wrapping_byte_sub(length), length));
            assert!(!is_writable(end.wrapping_byte_sub(length), length + 1));
            assert!(!is_writable(end, length));
        }
        // SAFETY: as above
        let page = unsafe { core::slice::from_raw_parts(start.cast::<u8>(), PAGE) };
        assert!(page.iter().all(|byte| *byte == 0xa5));
        // SAFETY: nothing else knows of the mapping
        assert_eq!(unsafe { libc::mprotect(start, PAGE, libc::PROT_READ) }, 0);
        assert!(is_readable(start, 16) && !is_writable(start, 16));
        assert!(!is_writable(ptr::null_mut(), 4));
        assert!(!is_writable(ptr::without_provenance_mut(usize::MAX), 1));
    }

    #[test]
    fn readability_check_changes_no_signal_mask() {
        let blocked = || {
            let mut set = core::mem::MaybeUninit::<libc::sigset_t>::zeroed();
            // SAFETY: the set is writable
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), set.as_mut_ptr()) };
            // SAFETY: zeros are a set, and the call wrote another
            let set = unsafe { set.assume_init() };
            let is_member = |signal| {
                // SAFETY: the set is readable
                unsafe { libc::sigismember(&raw const set, signal) }
            };
            (1..32).map(is_member).collect::<Vec<_>>()
        };
        let before = blocked();
        let all = Box::new([u64::MAX; 2]);
        assert!(is_readable(ptr::from_ref(&*all).cast(), size_of_val(&*all)));
        assert_eq!(blocked(), before);
    }

    #[test]
    fn address_is_on_heap_between_its_first_and_its_last_end_alone() {
        let end = heap_end();
        assert_ne!(end, 0);
        let at = |address: usize| ptr::without_provenance::<c_void>(address);
        let is_ours = |address: usize, start: usize| is_on_heap(at(address), at(address + 15), start, end);
        assert!(is_ours(end - 16, end - PAGE));
        assert!(!is_ours(end - 15, end - PAGE), "beyond the end");
        assert!(!is_ours(end - PAGE - 1, end - PAGE), "before the beginning");
        assert!(!is_ours(end - 16, 0), "unknown beginning");
        assert!(!is_on_heap(at(usize::MAX - 3), at(11), end - PAGE, end), "wraps");
    }

    #[test]
    fn address_is_on_own_stack_between_frame_and_top_alone() {
        let frame = 0_u8;
        let current: *const c_void = (&raw const frame).cast();
        let pages_above = |count: usize| current.wrapping_byte_add(count * PAGE);
        let is_ours = |start: *const c_void, top: *const c_void| {
            is_on_own_stack(start, start.wrapping_byte_add(15), top as usize)
        };
        assert!(is_ours(pages_above(1), pages_above(2)));
        assert!(!is_ours(pages_above(2), pages_above(2)));
        assert!(!is_ours(pages_above(1), ptr::null()), "unknown top");
        assert!(!is_ours(half_a_mapping(), pages_above(2)), "below the frame");
        let far_away = current.wrapping_byte_add(STACK_RANGE + PAGE);
        assert!(!is_ours(pages_above(1), far_away), "another thread's frame");
    }
}
