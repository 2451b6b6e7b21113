//! Many datagrams in one system call (recvmmsg(2), sendmmsg(2)).

use std::cell::RefCell;
use std::io;
use std::os::fd::RawFd;
use std::ptr;

use bytes::{Bytes, BytesMut};

use super::capsule::{self, MOST_HEADER};

/// Maximum number of datagrams of one call.
pub(super) const MOST: usize = 32;

/// Buffer bytes for each: no datagram is longer.
const SLOT: usize = 65_536;

thread_local! {
    /// The receive buffer of all sockets of the thread. The kernel allocates its pages when they are written to.
    static SLOTS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Receives the datagrams that are queued in the socket and packs them into capsules.
pub(super) fn receive(socket: RawFd) -> io::Result<Bytes> {
    SLOTS.with_borrow_mut(|slots| {
        if slots.is_empty() {
            *slots = vec![0; MOST * SLOT];
        }
        let mut parts = [const { part(ptr::null_mut(), 0) }; MOST];
        for (part, slot) in parts.iter_mut().zip(slots.chunks_exact_mut(SLOT)) {
            part.iov_base = slot.as_mut_ptr().cast();
            part.iov_len = slot.len();
        }
        let mut messages = [const { message(ptr::null_mut()) }; MOST];
        for (message, part) in messages.iter_mut().zip(&mut parts) {
            message.msg_hdr.msg_iov = part;
        }
        // SAFETY: each of the messages has one part that is a slot of its own, writable for its length
        let count = unsafe {
            libc::recvmmsg(
                socket,
                messages.as_mut_ptr(),
                MOST as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        let received = &messages[..count];
        let total: usize = received
            .iter()
            .map(|one| one.msg_len as usize + MOST_HEADER)
            .sum();
        let mut packed = BytesMut::with_capacity(total);
        for (message, slot) in received.iter().zip(slots.chunks_exact(SLOT)) {
            capsule::put(&mut packed, &slot[..message.msg_len as usize]);
        }
        Ok(packed.freeze())
    })
}

/// Sends datagrams to the socket's peer; returns how many of them, at least one, the kernel accepted.
pub(super) fn send(socket: RawFd, datagrams: &[Bytes]) -> io::Result<usize> {
    let mut parts = [const { part(ptr::null_mut(), 0) }; MOST];
    let mut messages = [const { message(ptr::null_mut()) }; MOST];
    let count = datagrams.len().min(MOST);
    for ((datagram, part), message) in datagrams.iter().zip(&mut parts).zip(&mut messages) {
        part.iov_base = datagram.as_ptr().cast_mut().cast();
        part.iov_len = datagram.len();
        message.msg_hdr.msg_iov = part;
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: each of the messages has one part that is a datagram, which the kernel only reads
    let sent = unsafe { libc::sendmmsg(socket, messages.as_mut_ptr(), count as libc::c_uint, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

const fn part(base: *mut libc::c_void, length: usize) -> libc::iovec {
    libc::iovec {
        iov_base: base,
        iov_len: length,
    }
}

const fn message(part: *mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: zeros are a message without an address, parts and control data, also in fields that are padding
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_iov = part;
    message.msg_hdr.msg_iovlen = 1;
    message
}
