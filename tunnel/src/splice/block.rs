//! The block of memory that sockets are read into, one for each thread.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::net::tcp::ReadHalf;
use tokio_util::io::poll_read_buf;

use crate::http2::FRAME_BYTES;

/// Bytes of one read to begin with.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// Bytes of one read of a connection that is fast in both its halves.
pub(super) const MOST_READ_BYTES: usize = FRAME_BYTES as usize;
/// Reads up to this size are copied, so that a few bytes which wait for long never keep a whole block.
const COPY_BYTES: usize = 8 * 1024;

thread_local! {
    static BLOCK: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// Reads up to `limit` bytes from the socket. Empty bytes are the end.
pub(super) fn poll_read(
    socket: &mut ReadHalf<'_>,
    cx: &mut Context<'_>,
    limit: usize,
) -> Poll<io::Result<Bytes>> {
    BLOCK.with_borrow_mut(|block| {
        // Takes the block back when all that was read into it is gone, which is the rule.
        block.reserve(READ_BYTES);
        let read = poll_read_buf(
            Pin::new(socket),
            cx,
            &mut (&mut *block).limit(limit.min(READ_BYTES)),
        );
        let count = ready!(read)?;
        let bytes = match count {
            0..=COPY_BYTES => {
                let bytes = Bytes::copy_from_slice(block);
                block.clear();
                bytes
            }
            _ => block.split().freeze(),
        };
        Poll::Ready(Ok(bytes))
    })
}
