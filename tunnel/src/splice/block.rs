//! The block of memory that sockets are read into, one for each thread.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::net::tcp::ReadHalf;
use tokio_util::io::poll_read_buf;

use crate::http2::FRAME_BYTES;
use crate::tls::RECORD_BYTES;

/// The header of a frame (RFC 9113, 4.1).
const FRAME_HEADER_BYTES: usize = 9;
/// Initial bytes of one read: with a frame header they fill whole TLS records, 64 KiB of them.
pub(super) const READ_BYTES: usize = 4 * RECORD_BYTES - FRAME_HEADER_BYTES;
/// Maximum bytes of one read, for a connection whose socket and tunnel are both fast.
pub(super) const MAX_READ_BYTES: usize = 32 * RECORD_BYTES - FRAME_HEADER_BYTES;
const _: () = assert!(MAX_READ_BYTES <= FRAME_BYTES as usize);
/// Reads up to this size are copied, so that a few bytes that wait for long do not keep a whole block allocated.
const COPY_BYTES: usize = 8 * 1024;

thread_local! {
    static BLOCK: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// Reads up to `limit` bytes from the socket; empty at the end of the stream.
pub(super) fn poll_read(
    socket: &mut ReadHalf<'_>,
    cx: &mut Context<'_>,
    limit: usize,
) -> Poll<io::Result<Bytes>> {
    BLOCK.with_borrow_mut(|block| {
        // Reuses the block if all bytes that were read into it have been dropped, which is the usual case.
        block.reserve(limit.max(READ_BYTES));
        let read = poll_read_buf(Pin::new(socket), cx, &mut (&mut *block).limit(limit));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    /// The bytes that one read returns while `waiting` bytes are in the socket.
    async fn read_of(limit: usize, waiting: usize) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (writer, reader) = tokio::join!(
            TcpStream::connect(listener.local_addr().unwrap()),
            listener.accept()
        );
        let (mut writer, (mut reader, _)) = (writer.unwrap(), reader.unwrap());
        socket2::SockRef::from(&reader)
            .set_recv_buffer_size(4 * MAX_READ_BYTES)
            .unwrap();
        let mut seen = vec![0; waiting];
        let sending = async { writer.write_all(&vec![7; waiting]).await.unwrap() };
        let arriving = async {
            while reader.peek(&mut seen).await.unwrap() < waiting {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let all_there = async { tokio::join!(sending, arriving) };
        tokio::time::timeout(Duration::from_secs(20), all_there)
            .await
            .unwrap();
        let (mut half, _) = reader.split();
        poll_fn(|cx| poll_read(&mut half, cx, limit)).await.unwrap().len()
    }

    #[tokio::test]
    async fn read_returns_up_to_the_requested_limit_in_one_block() {
        assert_eq!(read_of(READ_BYTES, 3 * READ_BYTES).await, READ_BYTES);
        assert_eq!(read_of(2 * READ_BYTES, 3 * READ_BYTES).await, 2 * READ_BYTES);
        assert_eq!(read_of(MAX_READ_BYTES, 100).await, 100);
    }
}
