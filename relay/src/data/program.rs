//! A duplicate of the program's socket, handed over for the time of one connect.

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, sockopt};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

/// `TCP_SYN_SENT` of the kernel's `enum` in `net/tcp_states.h`, as tcp(7)'s `TCP_INFO` reports it.
const SYN_SENT: u8 = 2;

/// `TCP_CLOSE`, likewise: neither connected nor listening nor on the way there.
const CLOSE: u8 = 7;

/// IPPROTO_MPTCP, which RFC 8684 sockets report as their protocol.
const MPTCP: u32 = 262;

/// The program's socket. Every duplicate shares one open file description, so its flags are the program's flags.
pub(crate) struct ProgramSocket {
    fd: OwnedFd,
    /// `SO_COOKIE`, the same for every duplicate and for the life of the socket.
    pub(crate) cookie: u64,
    /// Whether the program made it non-blocking.
    pub(crate) nonblocking: bool,
    /// Whether it can only speak with IPv6 loopback, because it is bound to an IPv6 address or set to `IPV6_V6ONLY`.
    pub(crate) only_v6: bool,
    /// Whether it is an `AF_INET6` socket.
    pub(crate) v6: bool,
    /// Whether the ordinary handshake alone is for it, and a simultaneous open is not: it speaks Multipath TCP, whose sockets
    /// never become writable by one, or it was shut down before, which its end of one would tell the other.
    pub(crate) needs_lift: bool,
}

impl ProgramSocket {
    /// Looks at a descriptor that came over the control socket; fails for anything that is not a TCP socket.
    pub(crate) fn inspect(fd: OwnedFd) -> io::Result<Self> {
        let not_tcp = || io::Error::new(io::ErrorKind::InvalidInput, "not a TCP socket");
        let v6 = match sockopt::socket_domain(&fd)? {
            AddressFamily::INET => false,
            AddressFamily::INET6 => true,
            _ => return Err(not_tcp()),
        };
        let protocol = sockopt::socket_protocol(&fd)?.map_or(0, |protocol| protocol.as_raw().get());
        let mptcp = protocol == MPTCP;
        if !mptcp && protocol != rustix::net::ipproto::TCP.as_raw().get() {
            return Err(not_tcp());
        }
        let only_v6 = v6
            && (sockopt::ipv6_v6only(&fd)?
                || match local_address(&fd)? {
                    SocketAddr::V6(address) => {
                        !address.ip().is_unspecified() && address.ip().to_ipv4_mapped().is_none()
                    }
                    SocketAddr::V4(_) => false,
                });
        Ok(Self {
            cookie: sockopt::socket_cookie(&fd)?,
            nonblocking: rustix::fs::fcntl_getfl(&fd)?.contains(OFlags::NONBLOCK),
            only_v6,
            v6,
            needs_lift: mptcp,
            fd,
        })
    }

    /// Inode number of the socket in sockfs, as `/proc/PID/fd` shows it.
    pub(crate) fn inode(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.fd)?.st_ino)
    }

    /// Starts a connect without waiting for it; [`Self::is_connecting`] tells what came of it. A socket that another thread of
    /// the program has connected meanwhile, or is about to, is left to that (`EALREADY`).
    ///
    /// A blocking socket is made non-blocking for the length of the call only.
    pub(crate) fn start_connect(&self, address: SocketAddr) -> io::Result<()> {
        if self.state()? != CLOSE {
            return Err(Errno::ALREADY.into());
        }
        if !self.nonblocking {
            let flags = rustix::fs::fcntl_getfl(&self.fd)?;
            rustix::fs::fcntl_setfl(&self.fd, flags | OFlags::NONBLOCK)?;
        }
        let outcome = rustix::net::connect(&self.fd, &address);
        if !self.nonblocking {
            // another thread of the program may have changed other flags meanwhile
            let flags = rustix::fs::fcntl_getfl(&self.fd)?;
            rustix::fs::fcntl_setfl(&self.fd, flags - OFlags::NONBLOCK)?;
        }
        match outcome {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether its connect is under way.
    pub(crate) fn is_connecting(&self) -> io::Result<bool> {
        Ok(self.state()? == SYN_SENT)
    }

    fn state(&self) -> io::Result<u8> {
        let mut state = 0_u8;
        let mut length = 1;
        // SAFETY: the option writes at most `length` = 1 byte, the first field `tcpi_state`, into `state`
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                (&raw mut state).cast(),
                &raw mut length,
            )
        };
        if result == 0 {
            Ok(state)
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Its own address; an IPv4 one as IPv4 also where the socket shows it mapped.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        let address = local_address(&self.fd)?;
        Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// Binds it to an IPv4 address, unless it is bound already: the kernel would choose another one on loopback.
    pub(crate) fn bind_at(&self, ip: IpAddr) -> io::Result<()> {
        if self.is_bound()? {
            return Ok(());
        }
        self.take_mapped_addresses()?;
        let ip = match ip {
            IpAddr::V4(v4) if self.v6 => v4.to_ipv6_mapped().into(),
            ip => ip,
        };
        match rustix::net::bind(&self.fd, &SocketAddr::new(ip, 0)) {
            // to a port of all addresses, which its program chose
            Err(Errno::INVAL) => Ok(()),
            bound => Ok(bound?),
        }
    }

    /// Lets it connect to mapped IPv4 addresses, if it is an IPv6 socket.
    pub(crate) fn take_mapped_addresses(&self) -> io::Result<()> {
        if !self.v6 {
            return Ok(());
        }
        match sockopt::set_ipv6_v6only(&self.fd, false) {
            // its program has bound it to a port
            Err(Errno::INVAL) => Ok(()),
            set => Ok(set?),
        }
    }

    /// Whether it has an address. The port alone says nothing: the kernel shows the one of a connect that failed.
    fn is_bound(&self) -> io::Result<bool> {
        Ok(!local_address(&self.fd)?.ip().to_canonical().is_unspecified())
    }

    /// Takes the socket's pending error away, as connect(2) does when it reports one.
    pub(crate) fn clear_error(&self) -> io::Result<()> {
        let _told_in_our_words = sockopt::socket_error(&self.fd)?;
        Ok(())
    }

    /// Takes back a connect that is under way and that the program does not know of: the socket is as new
    /// (connect(2), `AF_UNSPEC`).
    pub(crate) fn withdraw(&self) -> io::Result<()> {
        rustix::net::connect_unspec(&self.fd)?;
        // the kernel leaves ECONNRESET behind
        self.clear_error()
    }

    /// Ends a connect that is under way: the program wakes with `ECONNRESET`. Without one, which this says by false, the
    /// socket is at something of the program's own.
    pub(crate) fn cancel(&self) -> io::Result<bool> {
        if !self.is_connecting()? {
            return Ok(false);
        }
        rustix::net::shutdown(&self.fd, rustix::net::Shutdown::Both)?;
        Ok(true)
    }

    /// Makes a connect that was cancelled look as the kernel leaves one that was refused: nothing comes or goes any more, which
    /// reading tells as the end.
    pub(crate) fn seal(&self) -> io::Result<()> {
        match rustix::net::shutdown(&self.fd, rustix::net::Shutdown::Both) {
            // it says so, and does it all the same
            Err(Errno::NOTCONN) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn local_address(fd: &OwnedFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(rustix::net::getsockname(fd)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn start_connect_on_a_connected_socket_returns_ealready() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let program = ProgramSocket::inspect(theirs.try_clone().unwrap().into()).unwrap();
        let error = program.start_connect(listener.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EALREADY));
    }

    #[test]
    fn flags_changed_by_the_program_survive_start_connect() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let flags = rustix::net::SocketFlags::empty();
        let socket =
            rustix::net::socket_with(AddressFamily::INET, rustix::net::SocketType::STREAM, flags, None)
                .unwrap();
        let program = socket.try_clone().unwrap();
        let inspected = ProgramSocket::inspect(socket).unwrap();
        let before = rustix::fs::fcntl_getfl(&program).unwrap();
        rustix::fs::fcntl_setfl(&program, before | OFlags::APPEND).unwrap();
        inspected.start_connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(
            rustix::fs::fcntl_getfl(&program).unwrap(),
            before | OFlags::APPEND
        );
    }
}
