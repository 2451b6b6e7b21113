//! A duplicate of the program's TCP socket, for the time of one connect.

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, sockopt};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

/// `TCP_SYN_SENT` of the kernel's `enum` in `net/tcp_states.h`, as tcp(7)'s `TCP_INFO` reports it.
const SYN_SENT: u8 = 2;

/// `TCP_CLOSE`, likewise: neither connected nor connecting nor listening.
const CLOSE: u8 = 7;

/// IPPROTO_MPTCP, which RFC 8684 sockets report as their protocol.
const MPTCP: u32 = 262;

/// The program's socket. All duplicates share one open file description, so its flags are the program's flags.
pub(crate) struct ProgramSocket {
    fd: OwnedFd,
    /// `SO_COOKIE`, the same for all duplicates and for the socket's lifetime.
    pub(crate) cookie: u64,
    /// Whether the program made it non-blocking.
    pub(crate) nonblocking: bool,
    /// Whether it reaches only IPv6 loopback, because it is bound to an IPv6 address or set to `IPV6_V6ONLY`.
    pub(crate) only_v6: bool,
    /// Whether it is an `AF_INET6` socket.
    pub(crate) v6: bool,
    /// Whether it needs an ordinary handshake with a listener, since a simultaneous open fails: it is a Multipath TCP
    /// socket, which never becomes writable by one, or it was shut down before, for which its side of one would send
    /// FIN.
    pub(crate) needs_listener: bool,
}

impl ProgramSocket {
    /// Inspects a descriptor from the control socket; fails if it is not a TCP socket.
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
            needs_listener: mptcp,
            fd,
        })
    }

    /// Inode number of the socket in sockfs, as `/proc/PID/fd` shows it.
    pub(crate) fn inode(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.fd)?.st_ino)
    }

    /// Starts a connect without waiting for it; [`Self::is_connecting`] returns whether it is in progress. Fails with
    /// `EALREADY` if another thread of the program has connected the socket meanwhile, or is connecting it.
    ///
    /// A blocking socket is made non-blocking only for the duration of the call.
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

    /// Whether its connect is in progress.
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

    /// Its own address; a mapped IPv4 address as IPv4.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        let address = local_address(&self.fd)?;
        Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// Binds it to an IPv4 address, unless it is bound already: the kernel would choose another loopback address.
    pub(crate) fn bind_at(&self, ip: IpAddr) -> io::Result<()> {
        if self.is_bound()? {
            return Ok(());
        }
        self.allow_mapped_addresses()?;
        let ip = match ip {
            IpAddr::V4(v4) if self.v6 => v4.to_ipv6_mapped().into(),
            ip => ip,
        };
        match rustix::net::bind(&self.fd, &SocketAddr::new(ip, 0)) {
            // the program has bound it to a port of all addresses
            Err(Errno::INVAL) => Ok(()),
            bound => Ok(bound?),
        }
    }

    /// Allows connects to mapped IPv4 addresses, if it is an IPv6 socket.
    pub(crate) fn allow_mapped_addresses(&self) -> io::Result<()> {
        if !self.v6 {
            return Ok(());
        }
        match sockopt::set_ipv6_v6only(&self.fd, false) {
            // the program has bound it to a port
            Err(Errno::INVAL) => Ok(()),
            set => Ok(set?),
        }
    }

    /// Whether it is bound to an address. The port does not show that: the kernel keeps the port of a failed connect.
    fn is_bound(&self) -> io::Result<bool> {
        Ok(!local_address(&self.fd)?.ip().to_canonical().is_unspecified())
    }

    /// Clears the socket's pending error, as connect(2) does when it reports one.
    pub(crate) fn clear_error(&self) -> io::Result<()> {
        let _reported_as_our_failure = sockopt::socket_error(&self.fd)?;
        Ok(())
    }

    /// Undoes a connect in progress that the program has not been told of: the socket is as new (connect(2),
    /// `AF_UNSPEC`).
    pub(crate) fn withdraw(&self) -> io::Result<()> {
        rustix::net::connect_unspec(&self.fd)?;
        // the kernel leaves ECONNRESET on the socket
        self.clear_error()
    }

    /// Cancels a connect in progress: the program wakes with `ECONNRESET`. Returns false if there is none, because the
    /// program has used the socket otherwise.
    pub(crate) fn cancel(&self) -> io::Result<bool> {
        if !self.is_connecting()? {
            return Ok(false);
        }
        rustix::net::shutdown(&self.fd, rustix::net::Shutdown::Both)?;
        Ok(true)
    }

    /// Puts the socket of a cancelled connect into the state after a refusal by the kernel: reading returns the end of
    /// the stream, writing fails.
    pub(crate) fn seal(&self) -> io::Result<()> {
        match rustix::net::shutdown(&self.fd, rustix::net::Shutdown::Both) {
            // shutdown(2) returns this error and has the effect all the same
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
