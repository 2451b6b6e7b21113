//! Queries the kernel about sockets, for which no privilege is needed (sock_diag(7)).

use netlink_packet_core::{NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// Buffer size for a message, larger than the kernel's messages about one socket.
pub(crate) const MESSAGE: usize = 4096;

/// A non-blocking netlink socket for queries, which also receives the events of these groups (`SKNLGRP_*` of
/// linux/sock_diag.h, as bits).
pub(crate) fn open(groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(SOCK_DIAG))?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// The sequence number of the query that a message answers.
pub(crate) fn number(message: &[u8]) -> Option<u32> {
    NetlinkBuffer::new_checked(&message)
        .ok()
        .map(|message| message.sequence_number())
}

/// Reads a message about an internet socket.
pub(crate) fn read(message: &[u8]) -> io::Result<InetResponseHeader> {
    let message = NetlinkMessage::<SockDiagMessage>::deserialize(message).map_err(io::Error::other)?;
    match message.payload {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => Ok(response.header),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        other => Err(io::Error::other(format!("unexpected message: {other:?}"))),
    }
}

/// The `SO_COOKIE` of a socket.
pub(crate) fn cookie(socket: &InetResponseHeader) -> u64 {
    let [a, b, c, d, e, f, g, h] = socket.socket_id.cookie;
    // two numbers of 32 bits, the lower one first
    let (low, high) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]));
    u64::from(high) << 32 | u64::from(low)
}

/// Whether a socket listens at this address, as far as the kernel reports it.
pub(crate) fn is_listened_at(address: SocketAddr) -> io::Result<bool> {
    Ok(Inquiry::open()?.receiver(IPPROTO_TCP, address)?.is_some())
}

/// A socket for queries; each query has a sequence number, which its answer repeats (netlink(7)).
pub(crate) struct Inquiry {
    socket: OwnedFd,
    last: Cell<u32>,
}

impl Inquiry {
    /// Opens the socket.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self {
            socket: open(0)?,
            last: Cell::new(0),
        })
    }

    /// The inode of the socket of this protocol with these addresses; 0 if no descriptor refers to it.
    pub(crate) fn inode(&self, protocol: u8, local: SocketAddr, peer: SocketAddr) -> io::Result<u32> {
        self.socket(protocol, local, peer).map(|found| found.inode)
    }

    /// The socket of this protocol that receives from unconnected peers at an address: a listening one, or an
    /// unconnected datagram socket. None if there is no such socket.
    pub(crate) fn receiver(
        &self,
        protocol: u8,
        address: SocketAddr,
    ) -> io::Result<Option<InetResponseHeader>> {
        let unconnected = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        match self.socket(protocol, address, unconnected) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The socket of this protocol at the address `local` that receives what `peer` sends there; a datagram socket need
    /// not be connected. None if there is no such socket.
    pub(crate) fn socket_at(
        &self,
        protocol: u8,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> io::Result<Option<InetResponseHeader>> {
        let is_it = |found: &SocketId| {
            let is_unconnected = protocol == IPPROTO_UDP && found.destination_port == 0;
            found.source_port == local.port() && (found.destination_port == peer.port() || is_unconnected)
        };
        match self.find(protocol, local, peer, is_it) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The socket of this protocol that receives what `peer` sends to the address `local`.
    fn socket(&self, protocol: u8, local: SocketAddr, peer: SocketAddr) -> io::Result<InetResponseHeader> {
        self.find(protocol, local, peer, |found| {
            (found.source_port, found.destination_port) == (local.port(), peer.port())
        })
    }

    fn find(
        &self,
        protocol: u8,
        local: SocketAddr,
        peer: SocketAddr,
        is_it: impl Fn(&SocketId) -> bool,
    ) -> io::Result<InetResponseHeader> {
        let number = self.ask(protocol, local, peer)?;
        let mut answer = [0; MESSAGE];
        loop {
            // The kernel answers within send(2), unless it lacks memory; then there is nothing to read. An unread
            // answer to an earlier query is skipped.
            let (length, _) = rustix::net::recv(&self.socket, &mut answer, RecvFlags::empty())?;
            let answer = answer.get(..length).unwrap_or_default();
            if self::number(answer) != Some(number) {
                continue;
            }
            let found = read(answer)?;
            if !is_it(&found.socket_id) {
                return Err(io::Error::other("the kernel answered about another socket"));
            }
            return Ok(found);
        }
    }

    /// Sends a query; returns its sequence number.
    pub(crate) fn ask(&self, protocol: u8, local: SocketAddr, peer: SocketAddr) -> io::Result<u32> {
        let number = self.last.get().wrapping_add(1);
        self.last.set(number);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        header.sequence_number = number;
        // for UDP the two are swapped ("for historical reasons", net/ipv4/udp_diag.c)
        let (source, destination) = match protocol {
            IPPROTO_UDP => (peer, local),
            _ => (local, peer),
        };
        let question = InetRequest {
            family: if local.is_ipv4() { AF_INET } else { AF_INET6 },
            protocol,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::all(),
            socket_id: SocketId {
                source_port: source.port(),
                destination_port: destination.port(),
                source_address: source.ip(),
                destination_address: destination.ip(),
                interface_id: 0,
                // any
                cookie: [0xff; 8],
            },
        };
        let mut question = NetlinkMessage::new(header, SockDiagMessage::InetRequest(question).into());
        question.finalize();
        let mut bytes = vec![0; question.buffer_len()];
        question.serialize(&mut bytes);
        rustix::net::send(&self.socket, &bytes, SendFlags::empty())?;
        Ok(number)
    }
}
