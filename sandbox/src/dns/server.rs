//! DNS over UDP and TCP on one address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer::{Transport, answer};
use super::records::Records;

/// How long a TCP connection may stay without a question (RFC 7766 asks for "a few seconds").
pub const TCP_IDLE: Duration = Duration::from_secs(10);

/// TCP connections open at once; more wait in the kernel's queue.
const TCP_CONNECTIONS: usize = 256;

/// A running server. It ends when dropped.
pub struct Server {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Answers on `address`, over UDP and TCP. With port 0 both get the same free port.
    pub async fn start(records: Records, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let socket = UdpSocket::bind(address).await?;
        let records = Arc::new(records);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(socket, Arc::clone(&records)));
        tasks.spawn(serve_tcp(listener, records));
        Ok(Self {
            address,
            _tasks: tasks,
        })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve_udp(socket: UdpSocket, records: Arc<Records>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        if let Err(error) = answer_datagram(&socket, &records, &mut buffer).await {
            eprintln!("kinject-sandbox: dns: {error}");
        }
    }
}

async fn answer_datagram(socket: &UdpSocket, records: &Records, buffer: &mut [u8]) -> io::Result<()> {
    let (length, peer) = socket.recv_from(buffer).await?;
    if let Some(bytes) = answer(records, &buffer[..length], Transport::Udp) {
        socket.send_to(&bytes.map_err(io::Error::other)?, peer).await?;
    }
    Ok(())
}

async fn serve_tcp(listener: TcpListener, records: Arc<Records>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < TCP_CONNECTIONS => match accepted {
                Ok((stream, _)) => { connections.spawn(serve_stream(stream, Arc::clone(&records))); }
                Err(error) => eprintln!("kinject-sandbox: dns: {error}"),
            },
            // How a connection ended concerns its peer only.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers the questions of one connection in their order, until the peer closes or falls silent.
async fn serve_stream(mut stream: TcpStream, records: Arc<Records>) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Ok(question) = timeout(TCP_IDLE, read_question(&mut stream, &mut buffer)).await {
        question?;
        let Some(bytes) = answer(&records, &buffer, Transport::Tcp) else {
            break;
        };
        let bytes = bytes.map_err(io::Error::other)?;
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes()[..], &bytes].concat();
        stream.write_all(&framed).await?;
    }
    Ok(())
}

async fn read_question(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    let length = stream.read_u16().await?;
    buffer.resize(usize::from(length), 0);
    stream.read_exact(buffer).await.map(drop)
}
