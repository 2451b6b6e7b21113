//! The kernel's events about closed UDP sockets (sock_diag(7)).
//!
//! The port of a closed socket may be bound by another process at once, whose datagrams to the relay's end of a flow
//! look like the program's. The kernel multicasts destroy events without requiring any privilege, some microseconds
//! after a socket was closed. A kernel without `udp_diag` sends none; then [`super::udp_table`] detects closed sockets.

use super::sock_diag;
use crate::readiness;
use rustix::net::RecvFlags;
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// `SKNLGRP_INET_UDP_DESTROY` and `SKNLGRP_INET6_UDP_DESTROY` of linux/sock_diag.h, as bits.
const GROUPS: u32 = 1 << 1 | 1 << 3;

/// A socket that receives destroy events.
pub(crate) struct DestroyEvents(AsyncFd<OwnedFd>);

impl DestroyEvents {
    /// Subscribes to the events.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self(readiness::watch(sock_diag::open(GROUPS)?)?))
    }

    /// The cookie of the next closed socket. Cancel-safe.
    pub(crate) async fn next(&self) -> io::Result<u64> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut message = [0; sock_diag::MESSAGE];
            let received =
                ready.try_io(|socket| Ok(rustix::net::recv(socket, &mut message, RecvFlags::empty())?));
            match received {
                Ok(Ok((length, _))) => {
                    if let Some(cookie) = message.get(..length).and_then(cookie) {
                        return Ok(cookie);
                    }
                }
                // so many events at once that some were lost
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Ok(Err(error)) => return Err(error),
                Err(_not_yet) => {}
            }
        }
    }
}

fn cookie(message: &[u8]) -> Option<u64> {
    Some(sock_diag::cookie(&sock_diag::read(message).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::socket_cookie;
    use std::net::UdpSocket;
    use std::time::Duration;

    #[tokio::test]
    async fn destroy_event_arrives_after_the_last_descriptor_is_closed() {
        let events = match DestroyEvents::listen() {
            Ok(events) => events,
            Err(error) => {
                let why = format!("the kernel sends no events: {error}");
                return kinject_test_support::skip::not_run("closed sockets of UDP", &why);
            }
        };
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let socket = UdpSocket::bind(address).unwrap();
            let expected = socket_cookie(&socket).unwrap();
            let duplicate = socket.try_clone().unwrap();
            drop(socket);
            drop(duplicate);
            let received = async { while events.next().await.unwrap() != expected {} };
            tokio::time::timeout(Duration::from_secs(5), received)
                .await
                .unwrap();
        }
    }
}
