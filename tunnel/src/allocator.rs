//! Tunes glibc's allocator for a data path of large blocks (mallopt(3)).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A connection that carried more bytes than this may have grown the heap.
const HEAVY: u64 = 8 * 1024 * 1024;
/// How long the heap is kept after such a connection, since the next one may follow at once.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps blocks of the data path in the heap instead of asking the kernel for each. To be called first in `main`.
///
/// A busy tunnel allocates and frees blocks of half a megabyte thousands of times in a second. glibc would map and
/// unmap each, or grow and shrink its heap, and the kernel would clear the same pages each time: a fifth of the
/// processor time. So blocks below 4 MiB come from the heap, and up to 4 MiB that are free at its end are kept.
pub fn tune() {
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

/// Returns free memory to the kernel after [`PAUSE`] if a connection that carried many bytes has ended: its freed
/// blocks lie between others in the heap, which glibc would keep for as long as the process lives.
pub(crate) fn connection_ended(carried: u64) {
    static SCHEDULED: AtomicBool = AtomicBool::new(false);
    /// Allows the next trim to be scheduled, also if the runtime ends before this one ran.
    struct Unschedule;
    impl Drop for Unschedule {
        fn drop(&mut self) {
            SCHEDULED.store(false, Ordering::Relaxed);
        }
    }
    if carried < HEAVY || SCHEDULED.swap(true, Ordering::Relaxed) {
        return;
    }
    let unschedule = Unschedule;
    tokio::spawn(async move {
        tokio::time::sleep(PAUSE).await;
        drop(unschedule);
        trim();
    });
}

/// Returns free memory to the kernel at once, for a caller that has freed large blocks and allocates none again soon.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes an integer, and returns only memory that is not allocated
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn end_of_a_heavy_connection_returns_memory_to_the_kernel() {
        let resident_kib = || -> u64 {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
        };
        tune();
        let blocks: Vec<Vec<u8>> = (0..2000).map(|_| vec![1; 64 * 1024]).collect();
        // every tenth is kept, so that the end of the heap is not free
        let kept: Vec<Vec<u8>> = blocks.into_iter().step_by(10).collect();
        let before = resident_kib();
        connection_ended(HEAVY - 1);
        tokio::time::sleep(2 * PAUSE).await;
        assert!(
            resident_kib() + 50_000 > before,
            "a light connection costs no walk through the heap"
        );
        connection_ended(HEAVY);
        tokio::time::sleep(2 * PAUSE).await;
        let after = resident_kib();
        assert!(
            after + 90_000 < before,
            "from {before} KiB to {after} KiB with {} blocks",
            kept.len()
        );
    }
}
