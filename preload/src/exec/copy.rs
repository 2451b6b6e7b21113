//! A copy of an environment with the session's variables.

use super::environment_buffer::EnvironmentBuffer;
use super::plan::{List, Plan, Preload};
use crate::environment::Entry;
use core::mem::MaybeUninit;
use core::ptr;
use kinject_protocol::environment::{KEPT, LD_PRELOAD};
use kinject_protocol::executable::Runtime;
use libc::c_char;

/// The most entries of a copy on the stack.
const ENTRIES_ON_STACK: usize = 256;

/// The most bytes of `LD_PRELOAD` in a copy on the stack.
const TEXT_ON_STACK: usize = 1024;

/// Calls `start` with an environment of the session: the one given, or a copy with what it lacks. `runtime` is
/// preloaded, too, for the program that is started.
///
/// A large copy is made in a buffer ([`EnvironmentBuffer`]). If there is no memory for it the environment stays as it
/// is: the program is started in any case.
#[inline]
pub(super) fn with_session<T>(
    environment: *const *const c_char,
    runtime: Option<&Runtime>,
    start: impl FnOnce(*const *const c_char) -> T,
) -> T {
    match Plan::of(environment, runtime) {
        None => start(environment),
        Some(plan) => with_copy(&plan, environment, start),
    }
}

/// Like [`with_session`], for the functions that use the program's own environment, for which `None` stands.
#[inline]
pub(super) fn with_own<T>(
    environment: *const *const c_char,
    runtime: Option<&Runtime>,
    start: impl FnOnce(Option<*const *const c_char>) -> T,
) -> T {
    match Plan::of(environment, runtime) {
        None => start(None),
        Some(plan) => with_copy(&plan, environment, |copy| start(Some(copy))),
    }
}

#[inline(never)]
fn with_copy<T>(
    plan: &Plan<'_>,
    environment: *const *const c_char,
    start: impl FnOnce(*const *const c_char) -> T,
) -> T {
    let entries = plan.count.saturating_add(KEPT.len()).saturating_add(2);
    let text = text_size(&plan.preload);
    if entries <= ENTRIES_ON_STACK && text <= TEXT_ON_STACK {
        let mut array = MaybeUninit::<[*const c_char; ENTRIES_ON_STACK]>::uninit();
        let mut preload = MaybeUninit::<[c_char; TEXT_ON_STACK]>::uninit();
        // SAFETY: both are as large as the copy needs, and outlive the call
        let copy = unsafe {
            fill(
                plan,
                environment,
                array.as_mut_ptr().cast(),
                preload.as_mut_ptr().cast(),
            )
        };
        return start(copy);
    }
    let array = entries.saturating_mul(size_of::<*const c_char>());
    let Some(buffer) = EnvironmentBuffer::of_size(array.saturating_add(text)) else {
        return start(environment);
    };
    let memory = buffer.start();
    // SAFETY: the buffer holds the array, then the text
    start(unsafe { fill(plan, environment, memory.cast(), memory.byte_add(array).cast()) })
}

/// The size of the new `LD_PRELOAD` entry with its null.
fn text_size(preload: &Preload<'_>) -> usize {
    let Preload::Written { value, .. } = preload else {
        return 0;
    };
    let runtime = value.runtime.map_or(0, |runtime| runtime.name().len());
    // SAFETY: it is a C string
    let rest = unsafe { libc::strlen(value.rest) };
    let texts = value.others_length.saturating_add(runtime).saturating_add(rest);
    // an equals sign, two separators and the null
    texts.saturating_add(LD_PRELOAD.len()).saturating_add(4)
}

/// Writes the copy, and returns it.
///
/// # Safety
///
/// `array` has to be writable for the environment's entries, those that are missing, `LD_PRELOAD` and a null; `text`
/// for [`text_size`] bytes.
unsafe fn fill(
    plan: &Plan<'_>,
    environment: *const *const c_char,
    array: *mut *const c_char,
    text: *mut c_char,
) -> *const *const c_char {
    let mut next = array;
    let mut put = |entry: *const c_char| {
        // SAFETY: the caller vouches for the array
        unsafe { next.write(entry) };
        next = next.wrapping_add(1);
    };
    for index in 0..plan.count {
        // SAFETY: the environment has that many entries
        let given = unsafe { environment.wrapping_add(index).read_unaligned() };
        put(match &plan.preload {
            Preload::Written {
                index: Some(replaced),
                value,
            } if *replaced == index => {
                // SAFETY: the caller vouches for the text
                unsafe { write_preload(text, value) }
            }
            Preload::Complete | Preload::Written { .. } => given,
        });
    }
    if let Preload::Written { index: None, value } = &plan.preload {
        // SAFETY: as above
        put(unsafe { write_preload(text, value) });
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
/// `text` has to be writable for [`text_size`] bytes.
unsafe fn write_preload(text: *mut c_char, value: &List<'_>) -> *const c_char {
    let mut next = text;
    let mut put = |bytes: *const c_char, length: usize| {
        // SAFETY: the caller vouches for the text, and the bytes are readable
        unsafe { ptr::copy_nonoverlapping(bytes, next, length) };
        next = next.wrapping_add(length);
    };
    put(LD_PRELOAD.as_ptr().cast(), LD_PRELOAD.len());
    put(c"=".as_ptr(), 1);
    put(value.others, value.others_length);
    if value.needs_separator {
        put(c":".as_ptr(), 1);
    }
    if let Some(runtime) = value.runtime {
        put(runtime.name().as_ptr().cast(), runtime.name().len());
        put(c" ".as_ptr(), 1);
    }
    // SAFETY: it is a C string
    let rest = unsafe { libc::strlen(value.rest) };
    put(value.rest, rest.saturating_add(1));
    text
}
