//! Flows of datagrams: one UDP socket for each, connected to its target.
//!
//! A socket of its own for each flow is what RFC 9298 demands, and what tells a refusal of one target from another's.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use kinject_tunnel::http2::DatagramRequest;
use kinject_tunnel::{DatagramsEnd, DialError, carry};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;

use crate::log::log;

/// How long a flow may be idle: RFC 9298, 3.1 asks for two minutes at least, RFC 4787 recommends five.
const PATIENCE: Duration = Duration::from_secs(300);

/// What waits in a socket while the agent is busy, as far as the machine allows.
const BUFFER: usize = 4 * 1024 * 1024;

/// Serves one flow until it ends.
pub(crate) async fn serve(request: DatagramRequest) {
    let (host, port) = (request.host().to_owned(), request.port());
    let socket = match open(&host, port) {
        Ok(socket) => socket,
        Err(error) => return request.refuse(&error),
    };
    let Some(mut stream) = request.accept() else {
        return;
    };
    match carry(&socket, &mut stream, PATIENCE).await {
        DatagramsEnd::SocketFailed(error) => {
            if error.kind() != io::ErrorKind::ConnectionRefused {
                log(format_args!("datagrams to {host}, port {port}: {error}"));
            }
            stream.refuse().await;
        }
        DatagramsEnd::Idle => stream.finish(),
        DatagramsEnd::Finished | DatagramsEnd::Refused(_) | DatagramsEnd::TunnelLost => {}
    }
}

/// A socket that is connected to the target, whose name the relay has resolved, if there was one.
fn open(host: &str, port: u16) -> Result<UdpSocket, DialError> {
    let address: IpAddr = host
        .parse()
        .map_err(|_| DialError::Other(format!("`{host}` is not an address")))?;
    connect(SocketAddr::new(address, port)).map_err(|error| DialError::from(&error))
}

fn connect(target: SocketAddr) -> io::Result<UdpSocket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(target), kind, Some(Protocol::UDP))?;
    // the kernel cuts the size to what it allows
    socket.set_recv_buffer_size(BUFFER)?;
    socket.connect(&SockAddr::from(target))?;
    UdpSocket::from_std(socket.into())
}
