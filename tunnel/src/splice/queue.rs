//! Bytes that wait for a socket.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Maximum pieces of one write.
pub(super) const PIECES: usize = 16;
/// Frames smaller than this are copied together while packing: each would otherwise keep the whole block allocated that
/// the tunnel was read into.
const SMALL_BYTES: usize = 4 * 1024;
/// Bytes that are copied together into one piece.
const TOGETHER_BYTES: usize = 16 * 1024;
/// A list with more capacity is freed when it is empty.
const LIST_KEPT: usize = 2 * PIECES;

/// Bytes in the order of arrival; after [`Queue::pack`], with small pieces copied together.
#[derive(Default)]
pub(super) struct Queue {
    pieces: VecDeque<Bytes>,
    /// Small pieces, copied together; they follow `pieces`.
    tail: BytesMut,
    packing: bool,
    len: usize,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        if self.packing && bytes.len() < SMALL_BYTES {
            self.tail.extend_from_slice(&bytes);
            if self.tail.len() >= TOGETHER_BYTES {
                self.pieces.push_back(self.tail.split().freeze());
            }
            return;
        }
        self.close_tail();
        if !bytes.is_empty() {
            self.pieces.push_back(bytes);
        }
    }

    /// Copies small pieces together, queued ones and new ones, until the queue is empty. For bytes that have to wait.
    pub(super) fn pack(&mut self) {
        if self.packing {
            return;
        }
        self.packing = true;
        self.len = 0;
        for piece in std::mem::take(&mut self.pieces) {
            self.push(piece);
        }
    }

    /// The front of the queue, for one write.
    pub(super) fn front<'a>(&'a mut self, slices: &mut [IoSlice<'a>; PIECES]) -> usize {
        if self.pieces.len() < PIECES {
            self.close_tail();
        }
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    /// Removes bytes that were written.
    pub(super) fn advance(&mut self, mut count: usize) {
        self.len -= count;
        while count > 0 {
            let Some(piece) = self.pieces.front_mut() else {
                break;
            };
            if piece.len() > count {
                piece.advance(count);
                break;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
        if self.len == 0 {
            self.packing = false;
            if self.pieces.capacity() > LIST_KEPT {
                self.pieces = VecDeque::new();
            }
            if self.tail.capacity() > 0 {
                self.tail = BytesMut::new();
            }
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(queue: &mut Queue, most: usize) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); PIECES];
        let count = queue.front(&mut slices);
        let mut bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
        bytes.truncate(most);
        queue.advance(bytes.len());
        bytes
    }

    #[test]
    fn packed_small_pieces_do_not_keep_the_block_they_came_from() {
        let block = Bytes::from(vec![7; 64 * 1024]);
        let mut queue = Queue::default();
        queue.push(block.slice(..10));
        queue.pack();
        queue.push(block.slice(10..30));
        assert!(block.is_unique(), "the queue keeps the block");
        assert_eq!(queue.len(), 30);
        assert_eq!(written(&mut queue, 100), vec![7; 30]);
    }

    #[test]
    fn many_tiny_pieces_are_packed_into_few() {
        let mut queue = Queue::default();
        queue.pack();
        for _ in 0..100_000 {
            queue.push(Bytes::from_static(b"x"));
        }
        assert!(queue.pieces() < 10, "{} pieces", queue.pieces());
    }

    proptest! {
        #[test]
        fn bytes_leave_in_the_order_in_which_they_came(
            steps in prop::collection::vec((0..3_u8, 0..9000_usize), 1..60),
        ) {
            let (mut queue, mut expected, mut got) = (Queue::default(), Vec::new(), Vec::new());
            let mut next = 0_u8;
            for (kind, size) in steps {
                match kind {
                    0 => queue.pack(),
                    1 => got.extend(written(&mut queue, size)),
                    _ => {
                        let bytes: Vec<u8> = (0..size).map(|_| { next = next.wrapping_add(1); next }).collect();
                        expected.extend_from_slice(&bytes);
                        queue.push(bytes.into());
                    }
                }
                prop_assert_eq!(queue.len(), expected.len() - got.len());
            }
            while !queue.is_empty() {
                got.extend(written(&mut queue, 5000));
            }
            prop_assert!(got == expected);
        }
    }
}
