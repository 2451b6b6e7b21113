//! Flows of datagrams: one UDP socket for each, connected to its target.
//!
//! RFC 9298 requires a socket for each flow. It also attributes a refusal to one target.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use kinject_tunnel::http2::DatagramRequest;
use kinject_tunnel::{DatagramsEnd, DialError, carry};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;

use crate::log::log;

/// How long a flow may be idle: RFC 9298, 3.1 requires at least two minutes, RFC 4787 recommends five.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// Receive buffer of a socket, for datagrams that arrive while the agent is busy; the kernel's limit applies.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

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
    match carry(&socket, &mut stream, IDLE_TIMEOUT).await {
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

/// Opens a socket that is connected to the target, an address: the relay resolves names.
fn open(host: &str, port: u16) -> Result<UdpSocket, DialError> {
    let address: IpAddr = host
        .parse()
        .map_err(|_| DialError::Other(format!("`{host}` is not an address")))?;
    connect(SocketAddr::new(address, port)).map_err(|error| DialError::from(&error))
}

fn connect(target: SocketAddr) -> io::Result<UdpSocket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(target), kind, Some(Protocol::UDP))?;
    // the kernel reduces the size to its limit
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.connect(&SockAddr::from(target))?;
    UdpSocket::from_std(socket.into())
}
