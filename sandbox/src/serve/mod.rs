//! The sample server: what answers behind every name of the sandbox and of the test cluster.
//!
//! HTTP on one port, eight small TCP protocols on eight ports in a row, and a UDP echo. Each listener is a task
//! that owns its connections; dropping [`Samples`] ends all of them. A gate keeps the number of open connections
//! below the limit of descriptors, so that a flood waits in the kernel's queue instead of failing here.

mod accept;
mod buffers;
mod http;
mod tcp;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio::task::JoinSet;

pub use accept::Gate;
pub use tcp::Protocol;

use buffers::Buffers;

/// Connections that may wait in the kernel for one listener. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// A set of running sample services that share one name, one connection gate and one pool of buffers.
pub struct Samples {
    gate: Gate,
    buffers: Arc<Buffers>,
    listeners: JoinSet<()>,
}

impl Samples {
    /// Prepares a set without any listener yet.
    pub fn new(gate: Gate) -> Self {
        Self {
            gate,
            buffers: Arc::new(Buffers::new()),
            listeners: JoinSet::new(),
        }
    }

    /// Serves HTTP on `address`; `/` answers `hello from NAME`. Returns the address it got.
    pub fn http(&mut self, address: SocketAddr, name: &str) -> io::Result<SocketAddr> {
        let listener = listen(address)?;
        let bound = listener.local_addr()?;
        let greeting = Bytes::from(format!("hello from {name}\n"));
        self.listeners
            .spawn(accept::run(listener, self.gate.clone(), move |stream, _peer| {
                http::serve(stream, greeting.clone())
            }));
        Ok(bound)
    }

    /// Serves one of the TCP protocols on `address`. Returns the address it got.
    pub fn tcp(&mut self, protocol: Protocol, address: SocketAddr) -> io::Result<SocketAddr> {
        let listener = listen(address)?;
        let bound = listener.local_addr()?;
        let buffers = Arc::clone(&self.buffers);
        self.listeners
            .spawn(accept::run(listener, self.gate.clone(), move |stream, peer| {
                tcp::serve(protocol, stream, peer, Arc::clone(&buffers))
            }));
        Ok(bound)
    }

    /// Echoes every datagram that arrives on `address`. Returns the address it got.
    pub fn udp(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let bound = socket.local_addr()?;
        self.listeners.spawn(udp::echo(socket));
        Ok(bound)
    }
}

/// A listener with a long queue whose address can be taken again right after a restart.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
