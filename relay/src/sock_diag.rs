//! What the kernel tells of sockets, without any privilege (sock_diag(7)).

use netlink_packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::inet::InetResponseHeader;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io;
use std::os::fd::OwnedFd;

/// Longer than the kernel's messages about one socket.
pub(crate) const MESSAGE: usize = 4096;

/// A non-blocking socket for questions, to which the kernel also tells its news of these groups (`SKNLGRP_*` of
/// linux/sock_diag.h, as bits).
pub(crate) fn open(groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(SOCK_DIAG))?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// The number of the question that a message answers.
pub(crate) fn number(message: &[u8]) -> Option<u32> {
    NetlinkBuffer::new_checked(&message)
        .ok()
        .map(|message| message.sequence_number())
}

/// What a message says of an internet socket.
pub(crate) fn read(message: &[u8]) -> io::Result<InetResponseHeader> {
    let message = NetlinkMessage::<SockDiagMessage>::deserialize(message).map_err(io::Error::other)?;
    match message.payload {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => Ok(response.header),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        other => Err(io::Error::other(format!("an unexpected message: {other:?}"))),
    }
}
