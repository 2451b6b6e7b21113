//! The sanitizer's runtime that was preloaded for this program alone ([`kinject_protocol::executable::Runtime`]).
//!
//! The process that started the program wrote the runtime into `LD_PRELOAD`, directly before our library and
//! separated by a space; behind a library that the user preloads kinject writes a colon. In the program's children
//! the runtime would run for nothing: a shell that libc starts would be checked for leaks. So our constructor removes
//! it from the environment before `main`.

use super::plan;
use crate::environment::Entry;
use core::{ptr, slice};
use kinject_protocol::executable::Runtime;
use libc::c_char;

/// Removes the runtime from the list, in place.
///
/// # Safety
///
/// The list's entry and `library` have to be C strings; the entry has to be writable, and nobody else may use it
/// meanwhile.
pub(crate) unsafe fn remove_runtime(list: Entry, library: *const c_char) {
    let list = list.value().cast_mut();
    // SAFETY: the caller vouches for the list
    let Some(end) = (unsafe { plan::find(list, |name| plan::is(name, library)) }) else {
        return;
    };
    // SAFETY: so many bytes of the list come before our library
    let before = unsafe { slice::from_raw_parts(list.cast::<u8>(), end) };
    let Some(start) = runtime_at_the_end(before) else {
        return;
    };
    let (runtime, rest) = (list.wrapping_add(start), list.wrapping_add(end));
    // SAFETY: the rest is a C string
    let length = unsafe { libc::strlen(rest) }.saturating_add(1);
    // SAFETY: the rest moves towards the beginning of the entry, which is writable
    unsafe { ptr::copy(rest, runtime, length) };
}

/// The position of the runtime, if a list ends with one and a space.
fn runtime_at_the_end(list: &[u8]) -> Option<usize> {
    let names = list.strip_suffix(b" ")?;
    let name = names
        .rsplit(|byte| matches!(byte, b':' | b' '))
        .next()
        .unwrap_or_default();
    Runtime::is_named(name).then(|| names.len().saturating_sub(name.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::{CStr, CString};

    fn remaining(list: &str) -> String {
        let entry = CString::new(format!("LD_PRELOAD={list}")).unwrap().into_raw();
        // SAFETY: the string is one of that name, and ours
        unsafe { remove_runtime(Entry::new(entry, "LD_PRELOAD"), c"/k.so".as_ptr()) };
        // SAFETY: it came from into_raw, and is as long or shorter
        let left = unsafe { CStr::from_ptr(entry) }.to_str().unwrap().to_owned();
        left.strip_prefix("LD_PRELOAD=").unwrap().to_owned()
    }

    #[test]
    fn runtime_that_kinject_preloaded_is_removed_and_nothing_else() {
        for (list, left) in [
            ("libasan.so.8 /k.so", "/k.so"),
            (
                "libm.so.6:libtsan.so.2 /k.so:later.so",
                "libm.so.6:/k.so:later.so",
            ),
            ("/opt/x/libclang_rt.asan-x86_64.so /k.so", "/k.so"),
            ("libasan.so.8:/k.so", "libasan.so.8:/k.so"),
            ("libm.so.6 /k.so", "libm.so.6 /k.so"),
            ("libasan.so.8 libm.so.6 /k.so", "libasan.so.8 libm.so.6 /k.so"),
            ("libasan.so.8 /other.so", "libasan.so.8 /other.so"),
            ("/k.so", "/k.so"),
            (" /k.so", " /k.so"),
            ("", ""),
        ] {
            assert_eq!(remaining(list), left, "{list}");
        }
    }
}
