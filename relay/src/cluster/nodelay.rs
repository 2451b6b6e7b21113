//! Sending at once what is to be sent to the API server.
//!
//! The Kubernetes client leaves Nagle's algorithm on (RFC 896; `TCP_NODELAY`, tcp(7)): a small write waits until the other
//! end has acknowledged the one before, which it may put off for 40 ms. A tunnel is made of small writes. The client shows
//! no socket, but it tells the addresses of a response's connection, by which the socket is found.
//!
//! For connects through an API server: without it a program makes 0.01 × as many connections with an echo by pod proxy,
//! and 0.03 × by port-forward (22 in a second instead of 1,800 and 820). It costs a look through `/proc/self/fd` for each
//! connection to the API server.

use crate::log;
use hyper_util::client::legacy::connect::HttpInfo;
use rustix::net::{SocketAddrAny, getpeername, getsockname, sockopt};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};

/// Has the connection by which this response came send at once. A connection that cannot be found stays as it is.
pub(super) fn set<B>(response: &http::Response<B>) {
    let Some(connection) = response.extensions().get::<HttpInfo>() else {
        return log::warn!("the client does not tell which connection it uses: small writes may wait");
    };
    match set_nodelay(connection.local_addr(), connection.remote_addr()) {
        Ok(true) => {}
        Ok(false) => log::warn!("the connection to the API server is not found: small writes may wait"),
        Err(error) => log::warn!("small writes to the API server may wait: {error}"),
    }
}

/// Whether this process has a socket with these addresses, which sends at once from here on.
fn set_nodelay(local: SocketAddr, remote: SocketAddr) -> io::Result<bool> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse::<RawFd>().ok()) else {
            continue;
        };
        // SAFETY: the number was open a moment ago, nothing here awaits, and the relay has one thread; the folder's own
        // descriptor, which is among them, outlives the loop
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        // what is no socket, or not connected, has no such names
        let own = getsockname(descriptor).ok().and_then(internet);
        let peer = getpeername(descriptor).ok().flatten().and_then(internet);
        if own == Some(local) && peer == Some(remote) {
            sockopt::set_tcp_nodelay(descriptor, true)?;
            return Ok(true);
        }
    }
    Ok(false)
}

fn internet(name: SocketAddrAny) -> Option<SocketAddr> {
    SocketAddr::try_from(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn nodelay_is_set_only_on_the_socket_with_the_given_addresses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let [one, other] = [(); 2].map(|()| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let found = set_nodelay(one.local_addr().unwrap(), one.peer_addr().unwrap());
        assert!(found.unwrap());
        assert!(one.nodelay().unwrap());
        assert!(!other.nodelay().unwrap());
        let listening = listener.local_addr().unwrap();
        assert!(!set_nodelay(listening, listening).unwrap());
    }
}
