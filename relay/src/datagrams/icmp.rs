//! Reports to a program that its peer refuses datagrams, by an ICMP message that the kernel sends.
//!
//! The ICMP message "port unreachable" in answer to a datagram of a connected UDP socket reports a refusal (udp(7)):
//! recv(2) and poll(2) return with `ECONNREFUSED`. Only the kernel may send such a message, so the relay provokes it,
//! with a datagram from the program's address to a port that accepts no datagram:
//!
//! 1. The relay's end of the flow is connected to itself. It keeps its port bound, but accepts nothing else.
//! 2. A second socket at the program's own address sends an empty datagram there. The relay has set `SO_REUSEPORT` on
//!    the program's socket when it connected it, which allows this to sockets of the same user. The program's socket
//!    still gets its datagrams, since the kernel prefers a connected socket.
//! 3. The kernel answers on loopback before sendto(2) returns, and delivers the answer to the connected socket.
//! 4. The relay's end is connected to the program again.

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

/// Makes the next call on the socket at `program`, which is connected to `own`, fail with `ECONNREFUSED`.
pub(super) fn send_port_unreachable(
    socket: impl AsFd,
    own: SocketAddr,
    program: SocketAddr,
) -> io::Result<()> {
    let socket = socket.as_fd();
    rustix::net::connect(socket, &own)?;
    let sent = provoke_port_unreachable(own, program);
    rustix::net::connect(socket, &program)?;
    sent
}

fn provoke_port_unreachable(own: SocketAddr, program: SocketAddr) -> io::Result<()> {
    let family = match program {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let second = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    sockopt::set_socket_reuseport(&second, true)?;
    rustix::net::bind(&second, &program)?;
    let second = UdpSocket::from(second);
    rustix::net::sendto(&second, b"", SendFlags::empty(), &own)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datagrams::program::ProgramDatagrams;

    fn refused(bind: &str, own: &str) {
        let program = UdpSocket::bind(bind).unwrap();
        let ours = UdpSocket::bind(own).unwrap();
        let address = ours.local_addr().unwrap();
        let inspected = ProgramDatagrams::inspect(program.try_clone().unwrap().into()).unwrap();
        ours.connect(inspected.address).unwrap();
        inspected.connect(address).unwrap();
        for _ in 0..3 {
            send_port_unreachable(&ours, address, inspected.address).unwrap();
            let error = program.recv(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            program.send(b"still works").unwrap();
            assert_eq!(ours.recv(&mut [0; 16]).unwrap(), 11);
            ours.send(b"both ways").unwrap();
            assert_eq!(program.recv(&mut [0; 16]).unwrap(), 9);
        }
    }

    #[test]
    fn port_unreachable_wakes_the_program_and_the_flow_continues() {
        refused("0.0.0.0:0", "127.107.0.1:0");
        refused("127.0.0.1:0", "127.107.0.1:0");
        refused("[::]:0", "127.107.0.1:0");
        refused("[::1]:0", "[::1]:0");
    }
}
