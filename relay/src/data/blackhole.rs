//! Listeners on loopback that drop SYNs, to which programs' sockets connect.

use super::program::ProgramSocket;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use tokio::net::TcpStream;

/// A listening socket that drops packets below a hop limit, and with 255 the SYNs of ordinary sockets.
pub(crate) struct BlackholeListener {
    pub(super) listener: OwnedFd,
    pub(super) address: SocketAddr,
}

impl BlackholeListener {
    /// Listens at `address`, at a port of the kernel's choice if it has none, for packets with at least this hop limit.
    pub(super) fn bind(address: SocketAddr, hop_limit: u8) -> io::Result<Self> {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let listener = tcp_socket(family)?;
        share_port(&listener)?;
        rustix::net::bind(&listener, &address)?;
        let address = SocketAddr::try_from(rustix::net::getsockname(&listener)?)?;
        let blackhole = Self { listener, address };
        blackhole.set_min_hop_limit(hop_limit)?;
        rustix::net::listen(&blackhole.listener, 16)?;
        Ok(blackhole)
    }

    /// Accepts only packets with at least this hop limit from now on.
    pub(super) fn set_min_hop_limit(&self, hop_limit: u8) -> io::Result<()> {
        let (level, option) = if self.address.is_ipv4() {
            (libc::IPPROTO_IP, libc::IP_MINTTL)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT)
        };
        let hop_limit = libc::c_int::from(hop_limit);
        // SAFETY: the option reads one int, of which address and size are given
        let result = unsafe {
            libc::setsockopt(
                self.listener.as_raw_fd(),
                level,
                option,
                (&raw const hop_limit).cast(),
                size_of_val(&hop_limit) as libc::socklen_t,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// The listener's address in the family of the program's socket.
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

/// Accepts the program's own connection and closes all others.
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

/// Lets a blackhole listener and data sockets share one port, which the kernel allows to sockets of one user only.
pub(super) fn share_port(socket: &OwnedFd) -> io::Result<()> {
    Ok(sockopt::set_socket_reuseport(socket, true)?)
}
