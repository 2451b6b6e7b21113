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
    let mut place = environment;
    loop {
        // SAFETY: no entry before this one was null, so this one is part of the array
        let text = unsafe { *place };
        if text.is_null() {
            return None;
        }
        // SAFETY: the entry is a C string
        if unsafe { has_name(text, name) } {
            return Some(Entry { text, name });
        }
        place = place.wrapping_add(1);
    }
}

/// Does this entry bear this name?
///
/// # Safety
///
/// `text` has to point to a C string.
#[inline]
pub(crate) unsafe fn has_name(text: *const c_char, name: &str) -> bool {
    let mut place = text;
    for expected in name.bytes().chain([b'=']) {
        // SAFETY: every byte before this one equalled one that is not null, so this one is part of the string
        if unsafe { *place } as u8 != expected {
            return false;
        }
        place = place.wrapping_add(1);
    }
    true
}
