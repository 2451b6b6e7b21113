//! Who a local peer is: a forward serves the user that started it, and root, to whom every user's processes are open.
//!
//! The kernel tells whose socket the other end of a loopback connection is (sock_diag(7)). It does not for a socket
//! that is closed already: such a peer is refused, since another user could send something and close at once.
//!
//! A peer on another machine, or in another network namespace, has no socket here. It reaches a forward only where the
//! user has named an address other than loopback.

use crate::report::Failure;
use crate::routes;
use crate::socket_watch::sock_diag::{self, Inquiry};
use kinject_protocol::forward::PortProtocol;
use netlink_packet_sock_diag::constants::{IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::InetResponseHeader;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Root's user number.
const ROOT: u32 = 0;

/// Asks the kernel whose sockets are.
pub(super) struct Peers {
    inquiry: Inquiry,
    user: u32,
}

/// Whether a peer is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is a socket of this user, with this `SO_COOKIE`, or of root.
    Own(u64),
    /// It is not on this machine.
    Elsewhere,
    /// It is another user's.
    OtherUser(u32),
    /// The kernel does not tell whose it is: it is closed.
    Unknown,
}

impl Peers {
    /// Fails where the kernel does not answer such questions.
    pub(super) fn new() -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| {
            Failure::lasting(
                format!("the kernel does not tell whose local connections are: {error}"),
                "load its modules: run `modprobe -a inet_diag tcp_diag udp_diag` as root",
            )
        };
        let inquiry = Inquiry::open().map_err(cannot)?;
        let known = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(cannot)?;
        let known = known.local_addr().map_err(cannot)?;
        let unconnected = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        inquiry.inode(IPPROTO_TCP, known, unconnected).map_err(cannot)?;
        Ok(Self {
            inquiry,
            user: rustix::process::geteuid().as_raw(),
        })
    }

    /// Who is at `peer` and speaks with the socket at `ours`.
    pub(super) fn verdict(&self, protocol: PortProtocol, peer: SocketAddr, ours: SocketAddr) -> Verdict {
        let is_here = peer.ip().to_canonical().is_loopback()
            || peer.ip() == ours.ip()
            || routes::is_of_this_machine(SocketAddr::new(peer.ip().to_canonical(), 0));
        if !is_here {
            return Verdict::Elsewhere;
        }
        let number = match protocol {
            PortProtocol::Tcp => IPPROTO_TCP,
            PortProtocol::Udp => IPPROTO_UDP,
        };
        match self.inquiry.socket_at(number, peer, ours) {
            Ok(Some(socket)) => self.judge(&socket),
            Ok(None) => Verdict::Unknown,
            Err(error) => {
                crate::log::warn!("cannot ask whose socket {peer} is: {error}");
                Verdict::Unknown
            }
        }
    }

    fn judge(&self, socket: &InetResponseHeader) -> Verdict {
        let own = Verdict::Own(sock_diag::cookie(socket));
        let is_open = socket.inode != 0;
        match socket.uid {
            uid if uid == self.user && (is_open || uid != ROOT) => own,
            // of a closed socket the kernel may tell 0, whoever had it
            ROOT if is_open => own,
            ROOT => Verdict::Unknown,
            other => Verdict::OtherUser(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_sock_diag::inet::SocketId;
    use std::io::Write;
    use std::net::{TcpStream, UdpSocket};

    fn socket(uid: u32, inode: u32) -> InetResponseHeader {
        InetResponseHeader {
            family: 2,
            state: 1,
            timer: None,
            socket_id: SocketId::new_v4(),
            recv_queue: 0,
            send_queue: 0,
            uid,
            inode,
        }
    }

    #[test]
    fn only_this_user_and_root_are_served_and_root_only_with_an_open_socket() {
        let judged = |user, uid, inode| {
            let peers = Peers {
                user,
                ..Peers::new().unwrap()
            };
            peers.judge(&socket(uid, inode))
        };
        assert!(matches!(judged(1000, 1000, 7), Verdict::Own(_)));
        assert!(matches!(judged(1000, 1000, 0), Verdict::Own(_)));
        assert!(matches!(judged(1000, 0, 7), Verdict::Own(_)));
        assert_eq!(judged(1000, 0, 0), Verdict::Unknown);
        assert_eq!(judged(0, 0, 0), Verdict::Unknown);
        assert_eq!(judged(1000, 33, 7), Verdict::OtherUser(33));
        assert_eq!(judged(0, 1000, 7), Verdict::OtherUser(1000));
    }

    #[test]
    fn open_sockets_of_this_process_are_recognized_and_a_closed_one_is_not_foreign() {
        let peers = Peers::new().unwrap();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let ours = listener.local_addr().unwrap();
            let mut program = TcpStream::connect(ours).unwrap();
            let (_accepted, peer) = listener.accept().unwrap();
            assert!(matches!(
                peers.verdict(PortProtocol::Tcp, peer, ours),
                Verdict::Own(_)
            ));
            program.write_all(b"x").unwrap();
            drop(program);
            let closed = peers.verdict(PortProtocol::Tcp, peer, ours);
            assert!(matches!(closed, Verdict::Own(_) | Verdict::Unknown), "{closed:?}");
            let ours = UdpSocket::bind(address).unwrap().local_addr().unwrap();
            for connected in [false, true] {
                let program = UdpSocket::bind(address).unwrap();
                if connected {
                    program.connect(ours).unwrap();
                }
                let peer = program.local_addr().unwrap();
                let verdict = peers.verdict(PortProtocol::Udp, peer, ours);
                assert!(matches!(verdict, Verdict::Own(_)), "{verdict:?}");
                drop(program);
                assert_eq!(peers.verdict(PortProtocol::Udp, peer, ours), Verdict::Unknown);
            }
        }
    }

    #[test]
    fn peer_without_a_socket_here_is_elsewhere() {
        let peers = Peers::new().unwrap();
        let verdict = peers.verdict(
            PortProtocol::Tcp,
            "203.0.113.7:4000".parse().unwrap(),
            "192.0.2.1:80".parse().unwrap(),
        );
        assert_eq!(verdict, Verdict::Elsewhere);
    }
}
