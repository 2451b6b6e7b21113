//! One query to one nameserver.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use kinject_dns::message::Outgoing;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Longest message.
const MAX_MESSAGE: usize = 65_535;

thread_local! {
    /// The receive buffer of all answers: each is copied out of it at once.
    static ANSWER: RefCell<Vec<u8>> = RefCell::new(vec![0; MAX_MESSAGE]);
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum ExchangeError {
    TimedOut,
    Io(io::Error),
}

impl From<io::Error> for ExchangeError {
    fn from(error: io::Error) -> Self {
        ExchangeError::Io(error)
    }
}

/// Asks over UDP, from a random port of the kernel's choice. Datagrams that do not answer this query are ignored.
pub(super) async fn udp(
    server: SocketAddr,
    query: &Outgoing<'_>,
    time_limit: Duration,
) -> Result<Vec<u8>, ExchangeError> {
    let exchange = async {
        let socket = UdpSocket::bind(any_address(server)).await?;
        socket.connect(server).await?;
        socket.send(query.bytes()).await?;
        loop {
            let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
            if ready.is_error() {
                // The port is closed or the server unreachable: the kernel received an ICMP error.
                let unknown = || io::Error::other("the nameserver's address failed");
                return Err(socket.take_error()?.unwrap_or_else(unknown).into());
            }
            let received = ANSWER.with_borrow_mut(|buffer| {
                socket.try_recv(buffer).map(|length| {
                    let answer = &buffer[..length];
                    query.is_answered_by(answer).then(|| answer.to_vec())
                })
            });
            match received {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(ExchangeError::Io(error)),
            }
        }
    };
    timeout(time_limit, exchange)
        .await
        .unwrap_or(Err(ExchangeError::TimedOut))
}

/// Asks over TCP, for answers that do not fit into a datagram.
pub(super) async fn tcp(
    server: SocketAddr,
    query: &Outgoing<'_>,
    time_limit: Duration,
) -> Result<Vec<u8>, ExchangeError> {
    let exchange = async {
        let mut tcp = TcpStream::connect(server).await?;
        let length = u16::try_from(query.bytes().len()).map_err(io::Error::other)?;
        // Length and message are sent in one segment: some servers read only the first one.
        tcp.write_all(&[&length.to_be_bytes(), query.bytes()].concat())
            .await?;
        let mut answer = vec![0; usize::from(tcp.read_u16().await?)];
        tcp.read_exact(&mut answer).await?;
        match query.is_answered_by(&answer) {
            true => Ok(answer),
            false => Err(io::Error::other("the nameserver answered another question").into()),
        }
    };
    timeout(time_limit, exchange)
        .await
        .unwrap_or(Err(ExchangeError::TimedOut))
}

fn any_address(server: SocketAddr) -> SocketAddr {
    match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}
