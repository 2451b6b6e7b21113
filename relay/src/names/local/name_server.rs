//! Asks one name server of this machine one question.

use kinject_dns::message::{self, Outgoing, Query};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// The longest datagram.
const MAX_DATAGRAM: usize = 65_535;

/// When a question is sent again, since datagrams get lost.
pub(super) const REPEAT: Duration = Duration::from_millis(400);

/// Asks the server over UDP, and over TCP if the answer was truncated.
pub(super) async fn ask(server: SocketAddr, query: &Query<'_>) -> io::Result<Vec<u8>> {
    let question = query.outgoing(random_id()?);
    let mut answer = over_udp(server, &question).await?;
    if message::is_truncated(&answer) {
        answer = over_tcp(server, &question).await?;
    }
    question.restore_id(&mut answer);
    Ok(answer)
}

/// Datagrams that do not answer this question are skipped: any host may send to the port.
async fn over_udp(server: SocketAddr, question: &Outgoing<'_>) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question.bytes()).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    let mut answer = pin!(async {
        loop {
            let length = socket.recv(&mut buffer).await?;
            if question.is_answered_by(&buffer[..length]) {
                return Ok(buffer[..length].to_vec());
            }
        }
    });
    match timeout(REPEAT, &mut answer).await {
        Ok(answer) => answer,
        Err(_) => {
            socket.send(question.bytes()).await?;
            answer.await
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &Outgoing<'_>) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.bytes().len()).map_err(io::Error::other)?;
    // in one segment: some servers read only the first one
    stream
        .write_all(&[&length.to_be_bytes(), question.bytes()].concat())
        .await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    if question.is_answered_by(&answer) {
        Ok(answer)
    } else {
        Err(io::Error::other("it answers another question"))
    }
}

/// Whether an error comes from the server's machine (a closed port, a connection that was reset), and not from this
/// machine or a router, to which the server is unreachable.
pub(super) fn is_from_server(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
    )
}

/// A random identifier; the source port is random as well.
fn random_id() -> io::Result<u16> {
    let mut id = [0; 2];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_be_bytes(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel returns such errors at once, or after it has tried to resolve the next hop's address.
    #[test]
    fn routing_errors_are_not_attributed_to_the_server() {
        for (error, expected) in [
            (libc::ECONNREFUSED, true),
            (libc::ECONNRESET, true),
            (libc::EHOSTUNREACH, false),
            (libc::ENETUNREACH, false),
            (libc::ENETDOWN, false),
            (libc::ETIMEDOUT, false),
            (libc::EPERM, false),
            (libc::EMFILE, false),
        ] {
            let error = io::Error::from_raw_os_error(error);
            assert_eq!(is_from_server(&error), expected, "{error}");
        }
    }
}
