//! The session's variables as they were when the program started.

use crate::environment::{self, Entry};
use crate::exec::forget_runtime;
use crate::{memory, sys};
use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use kinject_protocol::environment::{KEPT, LD_PRELOAD, LIBRARY};
use libc::{c_char, c_int};

/// Room for two short paths and two short texts, as they mostly are. It is part of the one page of writable memory that an
/// exec pays for; what does not fit gets memory of its own.
const ROOM: usize = 512;

struct Copy {
    is_complete: AtomicBool,
    room: UnsafeCell<[c_char; ROOM]>,
    /// Where the copy of each variable of [`KEPT`] is.
    places: UnsafeCell<[Option<NonNull<c_char>>; KEPT.len()]>,
}

// SAFETY: the cells are written by the constructor alone, before `is_complete` is set, and only read after
unsafe impl Sync for Copy {}

static COPY: Copy = Copy {
    is_complete: AtomicBool::new(false),
    room: UnsafeCell::new([0; ROOM]),
    places: UnsafeCell::new([None; KEPT.len()]),
};

/// glibc gives a constructor what it gives `main`.
type Constructor = unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char);

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: Constructor = keep;

/// Copies what the environment holds; hooks that run earlier find it there.
///
/// # Safety
///
/// Called once, by the dynamic linker, while no other thread is in this library.
unsafe extern "C" fn keep(_: c_int, _: *const *const c_char, environment: *const *const c_char) {
    if COPY.is_complete.load(Ordering::Relaxed) {
        return;
    }
    memory::note_layout(environment.cast());
    // SAFETY: nothing else holds a reference into the cells before `is_complete` is set
    let (room, places) = unsafe { (&mut *COPY.room.get(), &mut *COPY.places.get()) };
    let mut free = room.as_mut_slice();
    for (name, place) in KEPT.iter().zip(places) {
        // SAFETY: the dynamic linker gives the process's environment, an array that a null ends
        let Some(entry) = (unsafe { environment::find(environment, name) }) else {
            continue;
        };
        // SAFETY: an entry points to a C string
        let text = unsafe { CStr::from_ptr(entry.text()) };
        *place = copy(text, &mut free);
    }
    COPY.is_complete.store(true, Ordering::Release);
    // SAFETY: as above
    let list = unsafe { environment::find(environment, LD_PRELOAD) };
    if let (Some(list), Some(library)) = (list, find(LIBRARY)) {
        // SAFETY: both are C strings; the program's own code does not run yet, and its environment is its own to write to
        unsafe { forget_runtime(list, library.value()) };
    }
}

/// Copies a string into what is free, or into memory of its own; none if there is none.
fn copy(text: &CStr, free: &mut &mut [c_char]) -> Option<NonNull<c_char>> {
    let length = text.count_bytes().wrapping_add(1);
    let place = match free.split_off_mut(..length) {
        Some(place) => NonNull::from_mut(place).cast(),
        None => NonNull::new(sys::map_memory(length).ok()?)?.cast(),
    };
    // SAFETY: the place has that length, is writable, and nobody else's
    unsafe { place.copy_from_nonoverlapping(NonNull::from_ref(text).cast(), length) };
    Some(place)
}

/// Whether the constructor has run.
pub(super) fn is_complete() -> bool {
    COPY.is_complete.load(Ordering::Acquire)
}

/// The variable as it was.
pub(super) fn find(name: &'static str) -> Option<Entry> {
    if !is_complete() {
        return None;
    }
    // SAFETY: `is_complete` was set after the last write
    let places = unsafe { &*COPY.places.get() };
    let (_, place) = KEPT.iter().zip(places).find(|(kept, _)| **kept == name)?;
    // SAFETY: the constructor wrote a whole entry of this name there
    Some(unsafe { Entry::new((*place)?.as_ptr(), name) })
}
