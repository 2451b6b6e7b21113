//! Environments: arrays of `NAME=value` that a null ends (environ(7)).

use libc::c_char;

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// The program's own environment; null after clearenv(3).
pub(crate) fn own() -> *const *const c_char {
    // SAFETY: libc defines it
    unsafe { environ }
}

/// One variable of an environment.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    text: *const c_char,
    name: &'static str,
}

impl Entry {
    /// # Safety
    ///
    /// `text` has to point to a C string that begins with the name and an equals sign.
    pub(crate) unsafe fn new(text: *const c_char, name: &'static str) -> Self {
        Self { text, name }
    }

    pub(crate) fn is_named(self, name: &str) -> bool {
        self.name == name
    }

    /// The whole `NAME=value`.
    pub(crate) fn text(self) -> *const c_char {
        self.text
    }

    /// What follows the equals sign.
    pub(crate) fn value(self) -> *const c_char {
        self.text.wrapping_add(self.name.len()).wrapping_add(1)
    }
}

/// The first entry of this name, which is what getenv(3) finds.
///
/// # Safety
///
/// `environment` has to be null or an array of C strings that a null ends.
pub(crate) unsafe fn find(environment: *const *const c_char, name: &'static str) -> Option<Entry> {
    if environment.is_null() {
        return None;
    }
    let mut next = environment;
    loop {
        // SAFETY: no entry before this one was null, so this one is part of the array
        let text = unsafe { *next };
        if text.is_null() {
            return None;
        }
        // SAFETY: the entry is a C string
        if unsafe { has_name(text, name) } {
            return Some(Entry { text, name });
        }
        next = next.wrapping_add(1);
    }
}

/// Has this entry this name?
///
/// # Safety
///
/// `text` has to point to a C string.
#[inline]
pub(crate) unsafe fn has_name(text: *const c_char, name: &str) -> bool {
    let mut next = text;
    for expected in name.bytes().chain([b'=']) {
        // SAFETY: every byte before this one equalled one that is not null, so this one is part of the string
        if unsafe { *next } as u8 != expected {
            return false;
        }
        next = next.wrapping_add(1);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ffi::CStr;
    use core::ptr;

    fn value(entries: &[&CStr], name: &'static str) -> Option<String> {
        let array: Vec<_> = entries
            .iter()
            .map(|entry| entry.as_ptr())
            .chain([ptr::null()])
            .collect();
        // SAFETY: the array ends with a null
        let entry = unsafe { find(array.as_ptr(), name) }?;
        // SAFETY: an entry points to a C string
        let value = unsafe { CStr::from_ptr(entry.value()) };
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn first_entry_of_the_name_is_found() {
        let entries = [c"AB=1", c"A=2", c"A=3", c"B"];
        assert_eq!(value(&entries, "A").as_deref(), Some("2"));
        assert_eq!(value(&entries, "AB").as_deref(), Some("1"));
        assert_eq!(value(&[c"A="], "A").as_deref(), Some(""));
    }

    #[test]
    fn name_without_an_entry_is_not_found() {
        for name in ["B", "C", "ABC", ""] {
            assert_eq!(value(&[c"AB=1", c"B"], name), None, "{name}");
        }
        // SAFETY: null is an empty environment
        assert!(unsafe { find(ptr::null(), "A") }.is_none());
    }
}
