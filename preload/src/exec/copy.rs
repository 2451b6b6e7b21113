//! A copy of an environment that has what the session needs.

use super::plan::{Plan, Preload};
use super::room::Room;
use crate::environment::Entry;
use core::mem::MaybeUninit;
use core::ptr;
use kinject_protocol::environment::{KEPT, LD_PRELOAD};
use libc::c_char;

/// The entries that a copy on the stack has room for.
const ENTRIES_ON_STACK: usize = 256;

/// The bytes of `LD_PRELOAD` that a copy on the stack has room for.
const TEXT_ON_STACK: usize = 1024;

/// Calls `start` with the environment that it should have: the one given, or a copy with what it lacks.
///
/// A large copy has memory of its own ([`Room`]). Where there is none the environment stays as it is: a program is started
/// in any case.
#[inline]
pub(super) fn with_session<T>(
    environment: *const *const c_char,
    start: impl FnOnce(*const *const c_char) -> T,
) -> T {
    match Plan::of(environment) {
        None => start(environment),
        Some(plan) => with_copy(&plan, environment, start),
    }
}

/// Like [`with_session`], for the functions that take no environment and use the program's own; `None` stands for it.
#[inline]
pub(super) fn with_own<T>(
    environment: *const *const c_char,
    start: impl FnOnce(Option<*const *const c_char>) -> T,
) -> T {
    match Plan::of(environment) {
        None => start(None),
        Some(plan) => with_copy(&plan, environment, |copy| start(Some(copy))),
    }
}

#[inline(never)]
fn with_copy<T>(
    plan: &Plan,
    environment: *const *const c_char,
    start: impl FnOnce(*const *const c_char) -> T,
) -> T {
    let entries = plan.count.saturating_add(KEPT.len()).saturating_add(2);
    let text = text_size(&plan.preload);
    if entries <= ENTRIES_ON_STACK && text <= TEXT_ON_STACK {
        let mut array = MaybeUninit::<[*const c_char; ENTRIES_ON_STACK]>::uninit();
        let mut room = MaybeUninit::<[c_char; TEXT_ON_STACK]>::uninit();
        // SAFETY: both are as large as was asked for, and outlive the call
        let copy = unsafe {
            fill(
                plan,
                environment,
                array.as_mut_ptr().cast(),
                room.as_mut_ptr().cast(),
            )
        };
        return start(copy);
    }
    let array = entries.saturating_mul(size_of::<*const c_char>());
    let Some(room) = Room::of_size(array.saturating_add(text)) else {
        return start(environment);
    };
    let memory = room.start();
    // SAFETY: the memory has room for the array, then for the text
    start(unsafe { fill(plan, environment, memory.cast(), memory.byte_add(array).cast()) })
}

/// The size of the new `LD_PRELOAD` entry with its null.
fn text_size(preload: &Preload) -> usize {
    let (others, library) = match preload {
        Preload::Complete => return 0,
        Preload::Add { library } => (c"".as_ptr(), *library),
        Preload::Append { others, library, .. } => (*others, *library),
    };
    // SAFETY: both are C strings
    let texts = unsafe { libc::strlen(others).saturating_add(libc::strlen(library)) };
    // an equals sign, a separator and the null
    texts.saturating_add(LD_PRELOAD.len()).saturating_add(3)
}

/// Writes the copy, and gives it.
///
/// # Safety
///
/// `array` has to have room for the environment's entries, those that are missing, `LD_PRELOAD` and a null; `text`
/// for [`text_size`] bytes.
unsafe fn fill(
    plan: &Plan,
    environment: *const *const c_char,
    array: *mut *const c_char,
    text: *mut c_char,
) -> *const *const c_char {
    let mut next = array;
    let mut put = |entry: *const c_char| {
        // SAFETY: the caller vouches that there is room for all that is put
        unsafe { next.write(entry) };
        next = next.wrapping_add(1);
    };
    for index in 0..plan.count {
        // SAFETY: the environment has that many entries
        let given = unsafe { environment.wrapping_add(index).read_unaligned() };
        put(match &plan.preload {
            Preload::Append {
                index: place,
                others,
                library,
            } if *place == index => {
                // SAFETY: the caller vouches for the text's room
                unsafe { write_preload(text, *others, *library) }
            }
            Preload::Complete | Preload::Add { .. } | Preload::Append { .. } => given,
        });
    }
    if let Preload::Add { library } = &plan.preload {
        // SAFETY: as above
        put(unsafe { write_preload(text, c"".as_ptr(), *library) });
    }
    plan.missing
        .iter()
        .flatten()
        .map(|entry| Entry::text(*entry))
        .for_each(&mut put);
    put(ptr::null());
    array
}

/// # Safety
///
/// `text` has to have room for [`text_size`] bytes, and both others have to be C strings.
unsafe fn write_preload(text: *mut c_char, others: *const c_char, library: *const c_char) -> *const c_char {
    let mut next = text;
    for byte in LD_PRELOAD.bytes().chain([b'=']) {
        // SAFETY: the name and the sign are the first of what there is room for
        unsafe { next.write(byte as c_char) };
        next = next.wrapping_add(1);
    }
    // SAFETY: both are C strings
    let (others_length, library_length) = unsafe { (libc::strlen(others), libc::strlen(library)) };
    if others_length != 0 {
        // SAFETY: there is room for the others
        unsafe { ptr::copy_nonoverlapping(others, next, others_length) };
        next = next.wrapping_add(others_length);
        // SAFETY: and for a separator
        unsafe { next.write(b':' as c_char) };
        next = next.wrapping_add(1);
    }
    // SAFETY: and for the library's path with its null
    unsafe { ptr::copy_nonoverlapping(library, next, library_length.saturating_add(1)) };
    text
}
