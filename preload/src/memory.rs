//! Looking at memory that the program says is there.
//!
//! A pointer that a system call would answer with `EFAULT` must not crash the program just because a hook looks where
//! only the kernel would have looked. So the kernel is asked first, by the cheapest call that reads memory and does
//! nothing else: setsockopt(2) of an option that cannot be set, on the very socket at hand. It copies four bytes and
//! then says `ENOPROTOOPT`. Where that says neither yes nor no (MPTCP looks at the option first), process_vm_readv(2)
//! of our own memory does, at three times the cost. What shares a page with our own stack needs no question.

use crate::errno::Errno;
use crate::sys;
use libc::{c_int, c_void};

/// What the cheap question copies.
const WORD: usize = size_of::<c_int>();

/// The smallest page there is; memory within one is readable as a whole or not at all.
const PAGE: usize = 4096;

/// Can `length` bytes at `address` be read? At least four, and at most a page.
#[inline]
pub(crate) fn is_readable(socket: c_int, address: *const c_void, length: usize) -> bool {
    let last = address.wrapping_byte_add(length.saturating_sub(WORD));
    // what lies in the page of our own frame, as a caller's variables often do, is on the same stack
    let here = 0_u8;
    let own = page_of((&raw const here).cast());
    if page_of(address) == own && end_page(last) == own {
        return true;
    }
    is_word_readable(socket, address)
        && (page_of(address) == end_page(last) || is_word_readable(socket, last))
}

/// Can an int be written to this address? What stands there is overwritten.
#[inline]
pub(crate) fn is_writable(socket: c_int, address: *mut c_int) -> bool {
    sys::write_socket_type(socket, address) != Err(Errno(libc::EFAULT))
}

fn page_of(address: *const c_void) -> usize {
    address as usize / PAGE
}

fn end_page(word: *const c_void) -> usize {
    page_of(word.wrapping_byte_add(WORD - 1))
}

#[inline]
fn is_word_readable(socket: c_int, address: *const c_void) -> bool {
    match sys::set_socket_option(socket, libc::SOL_SOCKET, libc::SO_TYPE, address, WORD) {
        Err(Errno(libc::ENOPROTOOPT)) => true,
        Err(Errno(libc::EFAULT)) => false,
        _ => is_byte_readable(address) && is_byte_readable(address.wrapping_byte_add(WORD - 1)),
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
        let readable = is_byte_readable(address);
        if readable {
            self.known = Some(page);
        }
        readable
    }
}
