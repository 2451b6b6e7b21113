//! The allocator, told what kind of program this is.

/// Keeps blocks of the data path in the heap instead of asking the kernel for each. To be called first in `main`.
///
/// A busy tunnel takes and gives blocks of half a megabyte thousands of times in a second. glibc would map each from
/// the kernel and give it back, or grow and shrink its heap, and the kernel would clear the same pages again and
/// again: a fifth of the processor time. So blocks below 4 MiB come from the heap, and up to 4 MiB that are free at
/// its end stay.
pub fn keep_blocks() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [
        (libc::M_MMAP_THRESHOLD, 4 * 1024 * 1024),
        (libc::M_TRIM_THRESHOLD, 4 * 1024 * 1024),
        (libc::M_TOP_PAD, 256 * 1024),
    ] {
        // SAFETY: mallopt takes two integers and no pointer; a parameter or value it does not know is ignored.
        unsafe { libc::mallopt(parameter, value) };
    }
}
