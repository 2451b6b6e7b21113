//! The session's variables as they were when the program started.

use crate::environment::{self, Entry};
use crate::memory;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use kinject_protocol::environment::KEPT;
use libc::{c_char, c_int};

/// Room for all of them: two paths and two short texts. What does not fit is not kept.
const ROOM: usize = 8 * 1024;

struct Copy {
    is_complete: AtomicBool,
    text: UnsafeCell<[c_char; ROOM]>,
    /// Where each variable of [`KEPT`] begins in `text`.
    starts: UnsafeCell<[Option<u16>; KEPT.len()]>,
}

// SAFETY: the cells are written by the constructor alone, before `is_complete` is set, and only read after
unsafe impl Sync for Copy {}

static COPY: Copy = Copy {
    is_complete: AtomicBool::new(false),
    text: UnsafeCell::new([0; ROOM]),
    starts: UnsafeCell::new([None; KEPT.len()]),
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
    let (text, starts) = unsafe { (&mut *COPY.text.get(), &mut *COPY.starts.get()) };
    let mut used = 0;
    for (name, start) in KEPT.iter().zip(starts) {
        // SAFETY: the dynamic linker gives the process's environment, an array that a null ends
        let Some(entry) = (unsafe { environment::find(environment, name) }) else {
            continue;
        };
        let Some(room) = text.get_mut(used..) else {
            continue;
        };
        // SAFETY: an entry points to a C string
        if let Some(length) = unsafe { copy(entry.text(), room) } {
            *start = u16::try_from(used).ok();
            used = used.saturating_add(length);
        }
    }
    COPY.is_complete.store(true, Ordering::Release);
}

/// Copies a C string with its null; gives its length, or none if the room is too small.
///
/// # Safety
///
/// `text` has to point to a C string.
unsafe fn copy(text: *const c_char, room: &mut [c_char]) -> Option<usize> {
    for (offset, place) in room.iter_mut().enumerate() {
        // SAFETY: every byte before this one was not null, so this one is part of the string
        *place = unsafe { *text.add(offset) };
        if *place == 0 {
            return offset.checked_add(1);
        }
    }
    None
}

/// The variable as it was.
pub(super) fn find(name: &'static str) -> Option<Entry> {
    if !COPY.is_complete.load(Ordering::Acquire) {
        return None;
    }
    // SAFETY: `is_complete` was set after the last write
    let starts = unsafe { &*COPY.starts.get() };
    let (_, start) = KEPT.iter().zip(starts).find(|(kept, _)| **kept == name)?;
    let text = COPY.text.get().cast::<c_char>();
    // SAFETY: the constructor wrote a whole entry of this name there, within the text
    Some(unsafe { Entry::new(text.add(usize::from((*start)?)), name) })
}
