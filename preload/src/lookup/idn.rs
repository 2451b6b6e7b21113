//! Internationalised names (RFC 5890), as glibc has them since 2.28: `AI_IDN`, `AI_CANONIDN`, `NI_IDN`.
//!
//! glibc converts names with libidn2, which it loads at first use and keeps, in the character set of the program's
//! locale. So do we, with the same functions and flags, and before that libc itself judges whether it would. Where
//! libidn2 is not installed, libc refuses names that need it, and shows encoded names as they are.
//!
//! libc loads it in a way of its own that dlerror(3) does not tell of. dlopen(3), whether it finds the library or not, would end
//! what the program has yet to read there. So it is always libc that loads the library, and we find it where it is then.

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

/// `idn2_lookup_ul` and `idn2_to_unicode_lzlz`: text in the locale's character set, the result, flags.
type Convert = unsafe extern "C" fn(*const c_char, *mut *mut c_char, c_int) -> c_int;

/// A name that was converted, in memory of libc's allocator.
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

/// Whether only a conversion can make a host name of these bytes.
pub(super) fn needs_encoding(name: &[u8]) -> bool {
    !name.iter().all(u8::is_ascii)
}

/// The form of a name that the DNS has, `xn--...`; or the error code of getaddrinfo(3).
///
/// # Safety
///
/// `name` has to point to a C string.
pub(super) unsafe fn encoded(name: *const c_char) -> Result<Converted, c_int> {
    let convert = function(c"idn2_lookup_ul").ok_or(EAI_IDN_ENCODE)?;
    // SAFETY: the caller vouches for the name
    unsafe { converted(convert, name) }
}

/// The form of a name that people read; none where it stays as it is, or `EAI_MEMORY`.
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

/// libc does not show such a name: a backslash begins an escaped byte in names of the DNS.
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

/// A function of libidn2, which stays loaded once libc uses it; none where libc cannot load it.
fn function(name: &CStr) -> Option<Convert> {
    have_libc_load_it();
    let found = link_map::loaded_function(LIBRARY, name)?;
    // SAFETY: libidn2's documentation has this signature for both functions
    Some(unsafe { mem::transmute::<NonZeroUsize, Convert>(found) })
}

/// Asks libc for a number, to be shown as people read it: it leaves the number as it is, but not without libidn2.
fn have_libc_load_it() {
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
