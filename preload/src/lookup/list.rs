//! Lists of addresses as getaddrinfo(3) returns them.

use core::ffi::CStr;
use core::net::IpAddr;
use core::ptr;
use libc::{addrinfo, c_char, c_int, c_void, socklen_t};

unsafe extern "C" {
    fn inet_ntop(family: c_int, address: *const c_void, text: *mut c_char, size: socklen_t) -> *const c_char;
}

/// The longest textual address with its null, `INET6_ADDRSTRLEN`.
const LONGEST_TEXT: usize = 46;

/// An address as text, for those functions that take nothing else.
pub(super) struct AddressText([c_char; LONGEST_TEXT]);

impl AddressText {
    pub(super) fn new(address: IpAddr) -> Self {
        let mut text = Self([0; LONGEST_TEXT]);
        let (buffer, size) = (text.0.as_mut_ptr(), text.0.len() as socklen_t);
        // it fails for other families and smaller buffers alone
        let _written = match address {
            // SAFETY: the octets are an IPv4 address, and the text holds every address
            IpAddr::V4(v4) => unsafe { inet_ntop(libc::AF_INET, v4.octets().as_ptr().cast(), buffer, size) },
            // SAFETY: as above, for IPv6
            IpAddr::V6(v6) => unsafe { inet_ntop(libc::AF_INET6, v6.octets().as_ptr().cast(), buffer, size) },
        };
        text
    }

    pub(super) fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr()
    }
}

/// A list that libc's freeaddrinfo(3) frees, as every element comes from libc's getaddrinfo(3).
pub(super) struct List {
    first: *mut addrinfo,
    last: *mut addrinfo,
}

impl List {
    pub(super) fn new() -> Self {
        Self {
            first: ptr::null_mut(),
            last: ptr::null_mut(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// Appends a list, whose elements get these flags.
    ///
    /// # Safety
    ///
    /// `more` has to be a list of libc's, not empty, that nothing else owns.
    pub(super) unsafe fn append(&mut self, more: *mut addrinfo, flags: c_int) {
        if self.last.is_null() {
            self.first = more;
        } else {
            // SAFETY: last is an element of the list, which is ours
            unsafe { (*self.last).ai_next = more };
        }
        let mut next = more;
        // SAFETY: more is a list, and next is followed to its end only
        while let Some(element) = unsafe { next.as_mut() } {
            element.ai_flags = flags;
            self.last = next;
            next = element.ai_next;
        }
    }

    /// Sets the canonical name of the first element, if there is memory for it.
    pub(super) fn set_canonical_name(&mut self, name: &[u8]) -> Option<()> {
        let length = name.len();
        // SAFETY: any size may be asked for; the rest of the copy stays zero and ends the string
        let copy = unsafe { libc::calloc(length.checked_add(1)?, 1) }.cast::<c_char>();
        if copy.is_null() {
            return None;
        }
        // SAFETY: both sides hold that many bytes, and the copy is new
        unsafe { ptr::copy_nonoverlapping(name.as_ptr().cast(), copy, length) };
        if self.first.is_null() {
            // SAFETY: nobody else has a pointer to the copy
            unsafe { libc::free(copy.cast()) };
            return None;
        }
        // SAFETY: first is an element of the list, which is ours; freeaddrinfo frees the name with it
        unsafe { (*self.first).ai_canonname = copy };
        Some(())
    }

    /// The raw list, which the caller owns.
    pub(super) fn into_raw(self) -> *mut addrinfo {
        let first = self.first;
        core::mem::forget(self);
        first
    }
}

impl Drop for List {
    fn drop(&mut self) {
        if !self.first.is_null() {
            // SAFETY: the whole list is libc's, and ours to free
            unsafe { libc::freeaddrinfo(self.first) };
        }
    }
}

/// The bytes of a C string, without the null.
///
/// # Safety
///
/// `text` has to point to a C string that outlives `'a`.
pub(super) unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    // SAFETY: the caller vouches for it
    unsafe { CStr::from_ptr(text) }.to_bytes()
}
