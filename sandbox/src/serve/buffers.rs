//! Buffers for reading, shared by all connections.
//!
//! A connection borrows one only while bytes are there to be moved, so thousands of idle connections hold no memory.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes in one buffer.
const SIZE: usize = 128 * 1024;

/// Free buffers that are kept; more than this are given back to the allocator.
const KEPT: usize = 64;

/// The pool.
pub(super) struct Buffers {
    free: Mutex<Vec<Box<[u8]>>>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self {
            free: Mutex::new(Vec::with_capacity(KEPT)),
        }
    }

    /// A buffer whose content is arbitrary; it returns to the pool when dropped.
    pub(super) fn borrow(self: &Arc<Self>) -> Buffer {
        let bytes = self
            .free()
            .pop()
            .unwrap_or_else(|| vec![0; SIZE].into_boxed_slice());
        Buffer {
            bytes,
            pool: Arc::clone(self),
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Box<[u8]>>> {
        // A vector of buffers has no state that a panic elsewhere could have left half changed.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One borrowed buffer.
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    pool: Arc<Buffers>,
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut free = self.pool.free();
        if free.len() < KEPT {
            free.push(bytes);
        }
    }
}
