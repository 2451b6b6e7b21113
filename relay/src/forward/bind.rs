//! Binds local ports, and says who has one that is taken.

use crate::report::Failure;
use crate::socket_watch::proc_fd;
use crate::socket_watch::sock_diag::Inquiry;
use kinject_protocol::forward::{ListenAddress, PortProtocol};
use netlink_packet_sock_diag::constants::{IPPROTO_TCP, IPPROTO_UDP};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use tokio::net::{TcpListener, UdpSocket};

/// Connections that may wait to be accepted; the kernel's limit applies.
const BACKLOG: i32 = 4096;

/// Receive buffer of a datagram socket, for datagrams that arrive while the relay is busy; the kernel's limit applies.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// How many free ports are tried for one that is free at all addresses.
const FREE_PORT_ATTEMPTS: usize = 20;

/// A bound port.
pub(super) struct Bound {
    /// Where.
    pub(super) address: SocketAddr,
    /// The socket.
    pub(super) socket: Socket,
}

/// What is bound there.
pub(super) enum Socket {
    /// It listens.
    Tcp(TcpListener),
    /// It receives.
    Udp(UdpSocket),
}

/// Binds a port at all of these addresses; of port 0 one that is free at all of them.
pub(super) fn all(
    addresses: &[ListenAddress],
    port: u16,
    protocol: PortProtocol,
) -> Result<Vec<Bound>, Failure> {
    let mut attempts = match port {
        0 => FREE_PORT_ATTEMPTS,
        _ => 1,
    };
    loop {
        attempts -= 1;
        match try_all(addresses, port, protocol) {
            Err((_, Errno::ADDRINUSE)) if attempts > 0 => {}
            Err((address, error)) => return Err(failure(address, protocol, error)),
            Ok(bound) => return Ok(bound),
        }
    }
}

fn try_all(
    addresses: &[ListenAddress],
    port: u16,
    protocol: PortProtocol,
) -> Result<Vec<Bound>, (SocketAddr, Errno)> {
    let mut bound: Vec<Bound> = Vec::new();
    let mut port = port;
    for address in addresses {
        let (ips, may_be_missing) = match address {
            ListenAddress::Localhost => (
                vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
                Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            ),
            ListenAddress::Ip(ip) => (vec![*ip], None),
        };
        for ip in ips {
            let wanted = SocketAddr::new(ip, port);
            match one(wanted, protocol) {
                Ok(new) => {
                    port = new.address.port();
                    bound.push(new);
                }
                // a machine without IPv6
                Err(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) if may_be_missing == Some(ip) => {}
                Err(error) => return Err((wanted, error)),
            }
        }
    }
    Ok(bound)
}

fn one(address: SocketAddr, protocol: PortProtocol) -> Result<Bound, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = match protocol {
        PortProtocol::Tcp => SocketType::STREAM,
        PortProtocol::Udp => SocketType::DGRAM,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if address.is_ipv6() {
        // 0.0.0.0 beside :: is another socket
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    match protocol {
        // for the port of connections that an earlier forward has closed
        PortProtocol::Tcp => sockopt::set_socket_reuseaddr(&socket, true)?,
        PortProtocol::Udp => sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?,
    }
    rustix::net::bind(&socket, &address)?;
    if protocol == PortProtocol::Tcp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    let address = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
    let socket = registered(socket, protocol);
    let socket = socket.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOMEM))?;
    Ok(Bound { address, socket })
}

fn registered(socket: OwnedFd, protocol: PortProtocol) -> io::Result<Socket> {
    Ok(match protocol {
        PortProtocol::Tcp => Socket::Tcp(TcpListener::from_std(socket.into())?),
        PortProtocol::Udp => Socket::Udp(UdpSocket::from_std(socket.into())?),
    })
}

fn failure(address: SocketAddr, protocol: PortProtocol, error: Errno) -> Failure {
    let (port, suffix) = (address.port(), protocol.suffix());
    let shown = match port {
        0 => address.ip().to_string(),
        _ => format!("{address}{suffix}"),
    };
    match error {
        Errno::ADDRINUSE => Failure::lasting(
            match owner(address, protocol) {
                Some(owner) => format!("{shown} is taken by {owner}"),
                None => format!("{shown} is taken by another program"),
            },
            "write another local port, or :REMOTE for a free one",
        ),
        Errno::ACCESS => Failure::lasting(
            format!("you may not listen at {shown}: ports below 1024 are root's"),
            &format!(
                "write another local port, or run `sysctl net.ipv4.ip_unprivileged_port_start={port}` as root"
            ),
        ),
        Errno::ADDRNOTAVAIL => Failure::lasting(
            format!("cannot listen at {shown}: no interface of this machine has this address"),
            "choose one of those that `ip address` shows",
        ),
        error => Failure::lasting(
            format!("cannot listen at {shown}: {error}"),
            "choose another address with --address",
        ),
    }
}

/// The program that has a port, as far as this user may know.
fn owner(address: SocketAddr, protocol: PortProtocol) -> Option<String> {
    let number = match protocol {
        PortProtocol::Tcp => IPPROTO_TCP,
        PortProtocol::Udp => IPPROTO_UDP,
    };
    let holder = Inquiry::open().and_then(|inquiry| inquiry.receiver(number, address));
    let holder = holder.ok().flatten()?;
    let inode = u64::from(holder.inode);
    let process = proc_fd::others()
        .ok()?
        .find(|process| proc_fd::sockets(process).any(|socket| socket == inode));
    match process {
        Some(process) => {
            let name = std::fs::read_to_string(process.join("comm")).ok()?;
            let pid = process.file_name()?.to_str()?.to_owned();
            Some(format!("{} (pid {pid})", name.trim_end()))
        }
        None if holder.uid == rustix::process::geteuid().as_raw() => None,
        None => Some(format!("a program of user {}", holder.uid)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTEN: &str = "import socket, sys\n\
        listener = socket.create_server(('127.0.0.1', 0))\n\
        print(listener.getsockname()[1], flush=True)\n\
        sys.stdin.read()";

    const LOCALHOST: &[ListenAddress] = &[ListenAddress::Localhost];

    fn addresses(bound: &[Bound]) -> Vec<IpAddr> {
        bound.iter().map(|bound| bound.address.ip()).collect()
    }

    #[tokio::test]
    async fn free_port_is_the_same_at_all_addresses() {
        for protocol in [PortProtocol::Tcp, PortProtocol::Udp] {
            let bound = all(LOCALHOST, 0, protocol).unwrap();
            let port = bound[0].address.port();
            assert_ne!(port, 0);
            assert!(bound.iter().all(|bound| bound.address.port() == port));
            assert_eq!(addresses(&bound)[0], IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
    }

    #[tokio::test]
    async fn taken_port_is_an_error_that_names_its_owner() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        // this process is not among the others
        let failure = all(LOCALHOST, address.port(), PortProtocol::Tcp).err().unwrap();
        assert_eq!(failure.message, format!("{address} is taken by another program"));
        let mut child = std::process::Command::new("python3")
            .args(["-Sc", LISTEN])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        let port: u16 = line.trim().parse().unwrap();
        let failure = all(LOCALHOST, port, PortProtocol::Tcp).err().unwrap();
        let pid = child.id();
        drop(child.stdin.take());
        child.wait().unwrap();
        let message = failure.message;
        assert!(
            message.starts_with(&format!("127.0.0.1:{port} is taken by python3"))
                && message.ends_with(&format!("(pid {pid})")),
            "{message}"
        );
    }

    #[tokio::test]
    async fn address_of_another_machine_is_an_error_that_names_it() {
        let addresses = [ListenAddress::Ip("203.0.113.7".parse().unwrap())];
        let failure = all(&addresses, 8080, PortProtocol::Tcp).err().unwrap();
        assert_eq!(
            failure.message,
            "cannot listen at 203.0.113.7:8080: no interface of this machine has this address"
        );
    }
}
