//! Whether a program has closed its end of a connection, or only shut down its sending direction.
//!
//! On the wire both are the same FIN. sock_diag(7) distinguishes them: a socket without any descriptor has no inode.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::log;
use crate::socket_watch::sock_diag::Inquiry;
use netlink_packet_sock_diag::constants::IPPROTO_TCP;

/// Queries the kernel about programs' sockets, which takes some microseconds each time.
pub(crate) struct ClosedSockets(Option<Inquiry>);

impl ClosedSockets {
    /// If the kernel does not support the query, no socket is known to be closed.
    pub(crate) fn new() -> Self {
        let usable = Inquiry::open().and_then(|inquiry| {
            // A kernel without this part of sock_diag would try to load its module with every query.
            let known = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let unconnected = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            inquiry
                .inode(IPPROTO_TCP, known.local_addr()?, unconnected)
                .map(|_| inquiry)
        });
        Self(
            usable
                .inspect_err(|error| {
                    log::debug!("cannot query which sockets are closed: {error}");
                })
                .ok(),
        )
    }

    /// Whether no process has the program's end of this loopback connection open any more, as far as the kernel reports
    /// it.
    pub(crate) fn is_closed(&self, program: SocketAddr, ours: SocketAddr) -> bool {
        let Some(inquiry) = &self.0 else { return false };
        match inquiry.inode(IPPROTO_TCP, program, ours) {
            Ok(inode) => inode == 0,
            // the socket existed when it was connected, so the kernel has released it
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => {
                log::debug!("cannot query a program's socket: {error}");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;

    /// A program's end and ours.
    async fn connection(address: &str) -> (std::net::TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let program = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        (program, ours)
    }

    impl ClosedSockets {
        /// Whether the program's end is closed, by the relay's end.
        fn peer_of(&self, ours: &TcpStream) -> bool {
            self.is_closed(ours.peer_addr().unwrap(), ours.local_addr().unwrap())
        }
    }

    async fn fin(ours: &mut TcpStream) {
        let end = tokio::time::timeout(Duration::from_secs(10), ours.read(&mut [0])).await;
        assert_eq!(end.unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn socket_counts_as_closed_after_its_last_descriptor() {
        let closed = ClosedSockets::new();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (program, mut ours) = connection(address).await;
            assert!(!closed.peer_of(&ours));
            let duplicate = program.try_clone().unwrap();
            program.shutdown(std::net::Shutdown::Write).unwrap();
            fin(&mut ours).await;
            assert!(!closed.peer_of(&ours), "{address}: it may still read");
            drop(program);
            assert!(!closed.peer_of(&ours), "{address}: a duplicate is open");
            drop(duplicate);
            assert!(closed.peer_of(&ours), "{address}");
        }
    }

    #[tokio::test]
    async fn dual_stack_socket_is_found_by_its_ipv4_address() {
        let closed = ClosedSockets::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let program = std::net::TcpStream::connect(format!("[::ffff:127.0.0.1]:{port}")).unwrap();
        let (mut ours, _) = listener.accept().await.unwrap();
        assert!(!closed.peer_of(&ours));
        drop(program);
        fin(&mut ours).await;
        assert!(closed.peer_of(&ours));
    }

    #[tokio::test]
    async fn unread_answer_to_an_earlier_question_is_skipped() {
        let closed = ClosedSockets::new();
        let inquiry = closed.0.as_ref().unwrap();
        let (program, ours) = connection("127.0.0.1:0").await;
        let unused = "127.0.0.1:1".parse().unwrap();
        // the answer, that there is no such socket, is queued and not read
        for _ in 0..3 {
            inquiry.ask(IPPROTO_TCP, unused, unused).unwrap();
            assert!(!closed.peer_of(&ours));
        }
        // the same with an answer about an open socket
        inquiry
            .ask(IPPROTO_TCP, ours.peer_addr().unwrap(), ours.local_addr().unwrap())
            .unwrap();
        assert!(closed.is_closed(unused, unused));
        drop(program);
    }

    #[tokio::test]
    async fn socket_is_not_closed_when_sock_diag_is_unavailable() {
        let (_program, ours) = connection("127.0.0.1:0").await;
        assert!(!ClosedSockets(None).peer_of(&ours));
    }

    #[tokio::test]
    async fn socket_unknown_to_the_kernel_counts_as_closed() {
        let unused = "127.0.0.1:1".parse().unwrap();
        assert!(ClosedSockets::new().is_closed(unused, unused));
    }
}
