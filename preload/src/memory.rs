//! Looking at memory that the program says is there.
//!
//! A pointer that a system call would answer with `EFAULT` must not crash the program just because a hook looks where
//! only the kernel would have looked. So the kernel is asked first, by the cheapest call that reads memory and does
//! nothing else: rt_sigprocmask(2) with an operation that does not exist. It copies eight bytes and then says `EINVAL`.
//! Where a sandbox answers in its place, process_vm_readv(2) of our own memory says it, at three times the cost. Whether
//! memory can be written is asked by futex(2), which adds zero to a word of it in one step.
//!
//! Most of what programs point to needs no question. It lies on their stack, between our own frame and the stack's top:
//! where that is we know of the first thread's stack, and of every other as far as the end of our own page. Or it lies on
//! their heap, which goes from where it was when our constructor ran to where libc says that it ends (sbrk(3)).

use crate::errno::Errno;
use crate::sys;
use core::sync::atomic::{AtomicUsize, Ordering};
use libc::c_void;

/// The smallest page there is, on x86-64 every page; memory within one is readable as a whole or not at all.
pub(crate) const PAGE: usize = 4096;

/// The kernel maps nothing else so near below the top of the first thread's stack.
const NEAR: usize = 1024 * 1024;

/// A place near the top of the first thread's stack. Zero before our constructor ran: then every address is asked for.
static FIRST_STACK: AtomicUsize = AtomicUsize::new(0);

/// The end of the heap when our constructor ran. Zero before.
static FIRST_HEAP_END: AtomicUsize = AtomicUsize::new(0);

/// To be called by our constructor with a place that the kernel filled at the top of the stack: the environment.
pub(crate) fn note_layout(place: *const c_void) {
    FIRST_STACK.store(place as usize, Ordering::Relaxed);
    FIRST_HEAP_END.store(heap_end(), Ordering::Relaxed);
}

/// Can `length` bytes at `address` be read? At least one, and at most a page.
#[inline]
pub(crate) fn is_readable(address: *const c_void, length: usize) -> bool {
    let last = address.wrapping_byte_add(length.saturating_sub(1));
    is_on_own_stack(address, last, FIRST_STACK.load(Ordering::Relaxed))
        || is_on_heap(address, last, FIRST_HEAP_END.load(Ordering::Relaxed), heap_end())
        || (is_asked_readable(address) && (page_of(address) == page_of(last) || is_asked_readable(last)))
}

/// Can `length` bytes at `address` be written? At least one, and at most a page. Nobody sees another value there meanwhile.
#[inline]
pub(crate) fn is_writable(address: *mut c_void, length: usize) -> bool {
    let last = address.wrapping_byte_add(length.saturating_sub(1));
    is_word_writable(address) && (page_of(address) == page_of(last) || is_word_writable(last))
}

/// A sandbox that forbids the question leaves the program its own faults.
fn is_word_writable(address: *mut c_void) -> bool {
    // an aligned word lies within one page
    let word = address.wrapping_byte_sub(address as usize % size_of::<u32>());
    sys::add_nothing(word.cast()) != Err(Errno(libc::EFAULT))
}

/// Where `needle` first stands in `haystack`, as memmem(3) finds it.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let (start, wanted) = (haystack.as_ptr(), needle.as_ptr());
    // SAFETY: both are readable for their lengths
    let found = unsafe { libc::memmem(start.cast(), haystack.len(), wanted.cast(), needle.len()) };
    // within the haystack, or null
    (found as usize).checked_sub(start as usize)
}

/// Whether all of it surely lies on the stack that this function runs on.
#[inline]
fn is_on_own_stack(first: *const c_void, last: *const c_void, top: usize) -> bool {
    let frame = 0_u8;
    let here = (&raw const frame).cast();
    if page_of(first) == page_of(here) && page_of(last) == page_of(here) {
        return true;
    }
    let (here, first, last) = (here as usize, first as usize, last as usize);
    // a stack is one mapping, and whoever runs so near below the first one's top runs on it
    here <= first && first <= last && last < top && top.wrapping_sub(here) < NEAR
}

/// Whether all of it lies where the heap, which ended at `start`, has grown to `end`.
#[inline]
fn is_on_heap(first: *const c_void, last: *const c_void, start: usize, end: usize) -> bool {
    let (first, last) = (first as usize, last as usize);
    start != 0 && start <= first && first <= last && last < end
}

/// Where libc's heap ends; libc knows it without asking the kernel. What it says of a failure is above every address, and
/// no heap begins there.
fn heap_end() -> usize {
    // SAFETY: this moves no end
    let end = unsafe { libc::sbrk(0) } as usize;
    if end == usize::MAX { 0 } else { end }
}

fn page_of(address: *const c_void) -> usize {
    address as usize / PAGE
}

#[inline]
fn is_asked_readable(address: *const c_void) -> bool {
    match sys::read_signal_set(address) {
        Err(Errno(libc::EINVAL)) => true,
        Err(Errno(libc::EFAULT)) => false,
        _ => is_byte_readable(address),
    }
}

#[cold]
fn is_byte_readable(address: *const c_void) -> bool {
    // a sandbox that forbids the question leaves the program its own faults
    sys::read_own_memory(address, &mut [0]) != Err(Errno(libc::EFAULT))
}

/// Which pages can be read, for walks over many small things; asks once for a run of things in one page.
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
        let readable = is_asked_readable(address);
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
        // SAFETY: a mapping at a place that the kernel chooses touches no other
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
    fn memory_is_readable_to_the_last_byte_before_what_is_not() {
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
    fn memory_is_writable_to_the_last_byte_before_what_is_not_and_stays_as_it_is() {
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
    fn the_question_changes_no_signal() {
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
    fn the_heap_reaches_from_its_first_end_to_its_last_and_no_further() {
        let end = heap_end();
        assert_ne!(end, 0);
        let at = |address: usize| ptr::without_provenance::<c_void>(address);
        let is_ours = |address: usize, start: usize| is_on_heap(at(address), at(address + 15), start, end);
        assert!(is_ours(end - 16, end - PAGE));
        assert!(!is_ours(end - 15, end - PAGE), "it reaches beyond the end");
        assert!(!is_ours(end - PAGE - 1, end - PAGE), "it begins before");
        assert!(!is_ours(end - 16, 0), "no beginning is known");
        assert!(
            !is_on_heap(at(usize::MAX - 3), at(11), end - PAGE, end),
            "it wraps"
        );
    }

    #[test]
    fn what_lies_beyond_the_top_of_the_stack_is_asked_for() {
        let frame = 0_u8;
        let here: *const c_void = (&raw const frame).cast();
        let pages_above = |count: usize| here.wrapping_byte_add(count * PAGE);
        let is_ours = |place: *const c_void, top: *const c_void| {
            is_on_own_stack(place, place.wrapping_byte_add(15), top as usize)
        };
        assert!(is_ours(pages_above(1), pages_above(2)));
        assert!(!is_ours(pages_above(2), pages_above(2)));
        assert!(!is_ours(pages_above(1), ptr::null()), "no top is known");
        assert!(!is_ours(half_a_mapping(), pages_above(2)), "below the frame");
        let far_away = here.wrapping_byte_add(NEAR + PAGE);
        assert!(!is_ours(pages_above(1), far_away), "another thread's frame");
    }
}
