//! A duplicate of the program's UDP socket, for the time of one call.

use rustix::net::{AddressFamily, SocketType, sockopt};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

/// The program's socket. It is bound to a port, so that the source of its datagrams is known.
pub(super) struct ProgramDatagrams {
    fd: OwnedFd,
    /// `SO_COOKIE`, the same for all duplicates and for the socket's lifetime.
    pub(super) cookie: u64,
    /// Inode number of the socket in sockfs, as `/proc/net/udp` shows it.
    pub(super) inode: u64,
    /// Whether it reaches only IPv6 loopback, because it is bound to an IPv6 address or set to `IPV6_V6ONLY`.
    pub(super) only_v6: bool,
    /// Whether it is an `AF_INET6` socket.
    v6: bool,
    /// The source address of its datagrams to loopback.
    pub(super) address: SocketAddr,
}

impl ProgramDatagrams {
    /// Inspects a descriptor from the control socket; fails if it is not a UDP socket. An unbound one is bound to a
    /// port, as the kernel does with the first datagram; and to the address `source`, if given, as the kernel does when
    /// it connects a socket.
    pub(super) fn inspect_at(socket: Option<OwnedFd>, source: Option<IpAddr>) -> io::Result<Self> {
        let fd = socket.ok_or(io::ErrorKind::InvalidInput)?;
        let not_udp = || io::Error::new(io::ErrorKind::InvalidInput, "not a UDP socket");
        let v6 = match sockopt::socket_domain(&fd)? {
            AddressFamily::INET => false,
            AddressFamily::INET6 => true,
            _ => return Err(not_udp()),
        };
        let is_udp = sockopt::socket_type(&fd)? == SocketType::DGRAM
            && sockopt::socket_protocol(&fd)? == Some(rustix::net::ipproto::UDP);
        if !is_udp {
            return Err(not_udp());
        }
        if is_bound_to_a_device(&fd)? {
            // it does not reach loopback: its datagrams would leave by the device
            return Err(io::Error::from_raw_os_error(libc::ENETUNREACH));
        }
        let mut local = local_address(&fd)?;
        if local.port() == 0 {
            let ip = match source {
                Some(IpAddr::V4(v4)) if v6 => {
                    sockopt::set_ipv6_v6only(&fd, false)?;
                    v4.to_ipv6_mapped().into()
                }
                Some(ip) => ip,
                None => local.ip(),
            };
            rustix::net::bind(&fd, &SocketAddr::new(ip, 0))?;
            local = local_address(&fd)?;
        }
        let is_bound_to_v6 = match local.ip() {
            IpAddr::V4(_) => false,
            IpAddr::V6(own) => !own.is_unspecified() && own.to_ipv4_mapped().is_none(),
        };
        let only_v6 = v6 && (is_bound_to_v6 || sockopt::ipv6_v6only(&fd)?);
        Ok(Self {
            cookie: sockopt::socket_cookie(&fd)?,
            inode: rustix::fs::fstat(&fd)?.st_ino,
            only_v6,
            v6,
            address: SocketAddr::new(loopback_source(local.ip(), only_v6), local.port()),
            fd,
        })
    }

    #[cfg(test)]
    pub(super) fn inspect(fd: OwnedFd) -> io::Result<Self> {
        Self::inspect_at(Some(fd), None)
    }

    /// Connects it to the relay's end of a flow.
    pub(super) fn connect(&self, flow: SocketAddr) -> io::Result<()> {
        // allows the relay to report refusals, see `icmp`
        sockopt::set_socket_reuseport(&self.fd, true)?;
        Ok(rustix::net::connect(&self.fd, &self.in_own_family(flow))?)
    }

    /// An IPv4 or IPv6 address of the relay's in the family of this socket.
    pub(super) fn in_own_family(&self, flow: SocketAddr) -> SocketAddr {
        match flow {
            SocketAddr::V4(v4) if self.v6 => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
            address => address,
        }
    }
}

/// The source address of datagrams to loopback from a socket that is bound to this address.
fn loopback_source(bound: IpAddr, only_v6: bool) -> IpAddr {
    let bound = bound.to_canonical();
    match bound {
        _ if !bound.is_unspecified() && !bound.is_multicast() => bound,
        _ if only_v6 => Ipv6Addr::LOCALHOST.into(),
        _ => Ipv4Addr::LOCALHOST.into(),
    }
}

fn local_address(fd: &OwnedFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(rustix::net::getsockname(fd)?)?)
}

/// Whether `SO_BINDTODEVICE` names a device other than loopback.
fn is_bound_to_a_device(fd: &OwnedFd) -> io::Result<bool> {
    let mut name = [0_u8; libc::IFNAMSIZ];
    let mut length = name.len() as libc::socklen_t;
    // SAFETY: the option writes at most `length` bytes into the name, and what it wrote into `length`
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(length > 0 && !name.is_empty() && name != b"lo")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn unbound_socket_is_bound_and_sends_from_loopback() {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
        let program = ProgramDatagrams::inspect(socket.try_clone().unwrap()).unwrap();
        assert_ne!(program.address.port(), 0);
        assert_eq!(program.address.ip(), Ipv4Addr::LOCALHOST);
        assert!(!program.only_v6);
        let again = ProgramDatagrams::inspect(socket).unwrap();
        assert_eq!(again.address, program.address);
        assert_eq!(again.cookie, program.cookie);
    }

    #[test]
    fn ipv6_socket_uses_the_loopback_family_that_it_reaches() {
        let dual = UdpSocket::bind("[::]:0").unwrap();
        let dual = ProgramDatagrams::inspect(dual.into()).unwrap();
        assert_eq!(dual.address.ip(), Ipv4Addr::LOCALHOST);
        let flow: SocketAddr = "127.107.0.1:9".parse().unwrap();
        assert_eq!(dual.in_own_family(flow).to_string(), "[::ffff:127.107.0.1]:9");
        let bound = UdpSocket::bind("[::1]:0").unwrap();
        let bound = ProgramDatagrams::inspect(bound.into()).unwrap();
        assert!(bound.only_v6);
        assert_eq!(bound.address.ip(), Ipv6Addr::LOCALHOST);
    }

    #[test]
    fn sockets_other_than_udp_are_refused() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(ProgramDatagrams::inspect(tcp.into()).is_err());
        let (unix, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
        assert!(ProgramDatagrams::inspect(unix.into()).is_err());
    }
}
