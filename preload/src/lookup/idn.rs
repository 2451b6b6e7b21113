//! Internationalised names (RFC 5890), as glibc has them since 2.28: `AI_IDN`, `AI_CANONIDN`, `NI_IDN`.
//!
//! glibc converts names with libidn2, which it loads at first use and keeps, in the character set of the program's
//! locale. The hooks call the same functions with the same flags, after libc itself has accepted the name. Where
//! libidn2 is not installed, libc refuses names that need it, and shows encoded names as they are.
//!
//! libc loads libidn2 without changing the error that dlerror(3) reports. dlopen(3) would replace an error that the
//! program has not read yet. So libc is made to load the library, and the hooks look it up among the loaded ones.

use super::numeric::numeric_hints;
use crate::{link_map, real};
use core::ffi::CStr;
use core::mem;
use core::num::NonZeroUsize;
use core::ptr::{self, NonNull};
use libc::{c_char, c_int};

/// netdb.h's flags.
pub(super) const AI_IDN: c_int = 0x0040;
pub(super) const AI_CANONIDN: c_int = 0x0080;
pub(super) const NI_IDN: c_int = 32;

/// netdb.h: the name cannot be encoded.
pub(super) const EAI_IDN_ENCODE: c_int = -105;

const LIBRARY: &CStr = c"libidn2.so.0";

/// idn2.h: `IDN2_OK` and `IDN2_MALLOC`.
const OK: c_int = 0;
const NO_MEMORY: c_int = -100;

/// `idn2_lookup_ul` and `idn2_to_unicode_lzlz`: the text in the locale's character set, the result, the flags.
type Convert = unsafe extern "C" fn(*const c_char, *mut *mut c_char, c_int) -> c_int;

/// A converted name, in memory of libc's allocator.
pub(super) struct Converted(NonNull<c_char>);

impl Converted {
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: libidn2 gave a C string, which lives as long as self
        unsafe { CStr::from_ptr(self.0.as_ptr()) }.to_bytes()
    }
}

impl Drop for Converted {
    fn drop(&mut self) {
        // SAFETY: as libc does with what libidn2 gives: it is malloc's, and every borrow has ended
        unsafe { libc::free(self.0.as_ptr().cast()) };
    }
}

/// Whether a name has to be encoded to be a host name.
pub(super) fn needs_encoding(name: &[u8]) -> bool {
    !name.iter().all(u8::is_ascii)
}

/// The name as the DNS has it, `xn--...` (an A-label); or the error code of getaddrinfo(3).
///
/// # Safety
///
/// `name` has to point to a C string.
pub(super) unsafe fn encoded(name: *const c_char) -> Result<Converted, c_int> {
    let convert = function(c"idn2_lookup_ul").ok_or(EAI_IDN_ENCODE)?;
    // SAFETY: the caller vouches for the name
    unsafe { converted(convert, name) }
}

/// The name in Unicode (a U-label); none if it stays as it is, or `EAI_MEMORY`.
pub(super) fn decoded(name: &[u8]) -> Result<Option<Converted>, c_int> {
    let Some(convert) = function(c"idn2_to_unicode_lzlz") else {
        return Ok(None);
    };
    // SAFETY: any size may be asked for; the rest of the copy stays zero and ends the string
    let copy = unsafe { libc::calloc(name.len().saturating_add(1), 1) }.cast::<c_char>();
    let copy = Converted(NonNull::new(copy).ok_or(libc::EAI_MEMORY)?);
    // SAFETY: both sides hold that many bytes, and the copy is new
    unsafe { ptr::copy_nonoverlapping(name.as_ptr().cast(), copy.0.as_ptr(), name.len()) };
    // SAFETY: the copy is a C string
    match unsafe { converted(convert, copy.0.as_ptr()) } {
        Ok(shown) if is_ambiguous(shown.bytes()) => Ok(None),
        Ok(shown) => Ok(Some(shown)),
        Err(EAI_IDN_ENCODE) => Ok(None),
        Err(code) => Err(code),
    }
}

/// libc does not show such a name: in the textual form of DNS names a backslash begins an escaped byte.
#[allow(
    clippy::manual_contains,
    reason = "its search may panic, as far as the compiler sees"
)]
fn is_ambiguous(name: &[u8]) -> bool {
    needs_encoding(name) && name.iter().any(|byte| *byte == b'\\')
}

/// # Safety
///
/// `name` has to point to a C string.
unsafe fn converted(convert: Convert, name: *const c_char) -> Result<Converted, c_int> {
    let mut result = ptr::null_mut();
    // SAFETY: the caller vouches for the name, and the result comes back in `result`
    match unsafe { convert(name, &raw mut result, 0) } {
        OK => NonNull::new(result).map(Converted).ok_or(libc::EAI_MEMORY),
        NO_MEMORY => Err(libc::EAI_MEMORY),
        _ => Err(EAI_IDN_ENCODE),
    }
}

/// A function of libidn2, which stays loaded once libc uses it; none if libc cannot load it.
fn function(name: &CStr) -> Option<Convert> {
    make_libc_load_libidn2();
    let found = link_map::loaded_function(LIBRARY, name)?;
    // SAFETY: libidn2's documentation has this signature for both functions
    Some(unsafe { mem::transmute::<NonZeroUsize, Convert>(found) })
}

/// Asks libc for a number and its decoded canonical name. libc leaves the number as it is, but loads libidn2 for that.
fn make_libc_load_libidn2() {
    let Some(native) = real::getaddrinfo.get() else {
        return;
    };
    let mut hints = numeric_hints(libc::AF_INET);
    hints.ai_flags |= libc::AI_CANONNAME | AI_CANONIDN;
    let mut list = ptr::null_mut();
    // SAFETY: the number is a C string, and the list comes back in `list`
    let code = unsafe {
        native(
            c"127.0.0.1".as_ptr(),
            ptr::null(),
            &raw const hints,
            &raw mut list,
        )
    };
    if code == 0 {
        // SAFETY: libc made the list, and nobody else has it
        unsafe { libc::freeaddrinfo(list) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_with_other_bytes_than_ascii_needs_encoding() {
        assert!(needs_encoding("b\u{fc}cher.test".as_bytes()));
        for name in ["xn--bcher-kva.test", "web", ""] {
            assert!(!needs_encoding(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn decoded_name_with_a_backslash_is_ambiguous() {
        assert!(is_ambiguous("b\u{fc}cher\\.test".as_bytes()));
        assert!(!is_ambiguous("b\u{fc}cher.test".as_bytes()));
        assert!(!is_ambiguous(b"a\\.test"));
    }
}
