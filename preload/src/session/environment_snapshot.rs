//! The session's variables as they were when the program started.

use crate::environment::{self, Entry};
use crate::exec::remove_runtime;
use crate::{memory, sys};
use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use kinject_protocol::environment::{KEPT, LD_PRELOAD, LIBRARY};
use libc::{c_char, c_int};

/// The size of the buffer: enough for the variables of most sessions, those of a workload with its table of paths among
/// them. It is part of the one page of writable memory that each exec pays for; a variable that does not fit gets a
/// mapping of its own, which costs an exec more.
const BUFFER_SIZE: usize = 896;

struct Copy {
    is_complete: AtomicBool,
    buffer: UnsafeCell<[c_char; BUFFER_SIZE]>,
    /// The copy of each variable of [`KEPT`].
    copies: UnsafeCell<[Option<NonNull<c_char>>; KEPT.len()]>,
}

// SAFETY: the cells are written by the constructor alone, before `is_complete` is set, and only read after
unsafe impl Sync for Copy {}

static COPY: Copy = Copy {
    is_complete: AtomicBool::new(false),
    buffer: UnsafeCell::new([0; BUFFER_SIZE]),
    copies: UnsafeCell::new([None; KEPT.len()]),
};

/// glibc calls a constructor with the arguments of `main`.
type Constructor = unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char);

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: Constructor = take_snapshot;

/// Copies the session's variables; hooks that run earlier read the environment itself.
///
/// # Safety
///
/// Called once, by the dynamic linker, while no other thread is in this library.
unsafe extern "C" fn take_snapshot(_: c_int, _: *const *const c_char, environment: *const *const c_char) {
    if COPY.is_complete.load(Ordering::Relaxed) {
        return;
    }
    memory::record_layout(environment.cast());
    // SAFETY: nothing else holds a reference into the cells before `is_complete` is set
    let (buffer, copies) = unsafe { (&mut *COPY.buffer.get(), &mut *COPY.copies.get()) };
    let mut free = buffer.as_mut_slice();
    for (name, variable) in KEPT.iter().zip(copies) {
        // SAFETY: the dynamic linker gives the process's environment, an array that a null ends
        let Some(entry) = (unsafe { environment::find(environment, name) }) else {
            continue;
        };
        // SAFETY: an entry points to a C string
        let text = unsafe { CStr::from_ptr(entry.text()) };
        *variable = copy(text, &mut free);
    }
    COPY.is_complete.store(true, Ordering::Release);
    // SAFETY: as above
    let list = unsafe { environment::find(environment, LD_PRELOAD) };
    if let (Some(list), Some(library)) = (list, find(LIBRARY)) {
        // SAFETY: both are C strings; the program's own code does not run yet, and its environment is writable
        unsafe { remove_runtime(list, library.value()) };
    }
}

/// Copies a string into the free part of the buffer, or into a mapping of its own; none if there is no memory.
fn copy(text: &CStr, free: &mut &mut [c_char]) -> Option<NonNull<c_char>> {
    let length = text.count_bytes().wrapping_add(1);
    let copy = match free.split_off_mut(..length) {
        Some(part) => NonNull::from_mut(part).cast(),
        None => NonNull::new(sys::map_memory(length).ok()?)?.cast(),
    };
    // SAFETY: the copy has that length, is writable, and nobody else has it
    unsafe { copy.copy_from_nonoverlapping(NonNull::from_ref(text).cast(), length) };
    Some(copy)
}

/// Whether the constructor has run.
pub(super) fn is_complete() -> bool {
    COPY.is_complete.load(Ordering::Acquire)
}

/// The variable as it was at the start.
pub(super) fn find(name: &'static str) -> Option<Entry> {
    if !is_complete() {
        return None;
    }
    // SAFETY: `is_complete` was set after the last write
    let copies = unsafe { &*COPY.copies.get() };
    let (_, copy) = KEPT.iter().zip(copies).find(|(kept, _)| **kept == name)?;
    // SAFETY: the constructor wrote a whole entry of this name there
    Some(unsafe { Entry::new((*copy)?.as_ptr(), name) })
}
