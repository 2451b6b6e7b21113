//! The sockets at loopback ports that programs' sockets are connected to.

use super::program::ProgramSocket;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use tokio::net::TcpStream;

/// A listening socket that swallows SYNs.
pub(crate) struct BlackHole {
    pub(super) listener: OwnedFd,
    pub(super) address: SocketAddr,
}

impl BlackHole {
    /// Listens at `address`, a port of the kernel's choice, for packets with at least `hops` hops left.
    pub(super) fn open(address: SocketAddr, hops: u8) -> io::Result<Self> {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let listener = tcp_socket(family)?;
        share_port(&listener)?;
        rustix::net::bind(&listener, &address)?;
        let address = SocketAddr::try_from(rustix::net::getsockname(&listener)?)?;
        let hole = Self { listener, address };
        hole.demand_hops(hops)?;
        rustix::net::listen(&hole.listener, 16)?;
        Ok(hole)
    }

    pub(super) fn demand_hops(&self, hops: u8) -> io::Result<()> {
        let (level, option) = if self.address.is_ipv4() {
            (libc::IPPROTO_IP, libc::IP_MINTTL)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT)
        };
        let hops = libc::c_int::from(hops);
        // SAFETY: the option reads one int, of which address and size are given
        let result = unsafe {
            libc::setsockopt(
                self.listener.as_raw_fd(),
                level,
                option,
                (&raw const hops).cast(),
                size_of_val(&hops) as libc::socklen_t,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// The hole's address as the program's socket can connect to it.
    pub(super) fn address_for(&self, program: &ProgramSocket) -> SocketAddr {
        match self.address {
            SocketAddr::V4(v4) if program.v6 => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
            address => address,
        }
    }

    pub(super) fn accept_from(&self, program: &ProgramSocket) -> io::Result<TcpStream> {
        accept_from(&self.listener, program)
    }
}

/// Takes the program's own connection from the queue and closes every stranger's.
pub(super) fn accept_from(listener: &OwnedFd, program: &ProgramSocket) -> io::Result<TcpStream> {
    let expected = program.local_address()?;
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, peer) = rustix::net::acceptfrom_with(listener, flags)?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        if peer == Some(expected) {
            sockopt::set_tcp_nodelay(&socket, true)?;
            kinject_tunnel::splice::keep_alive(&socket)?;
            return TcpStream::from_std(std::net::TcpStream::from(socket));
        }
    }
}

pub(super) fn tcp_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(
        family,
        SocketType::STREAM,
        flags,
        Some(rustix::net::ipproto::TCP),
    )?)
}

/// Lets a hole and the data sockets that open from it use one port; the kernel allows it to one user only.
pub(super) fn share_port(socket: &OwnedFd) -> io::Result<()> {
    Ok(sockopt::set_socket_reuseport(socket, true)?)
}
