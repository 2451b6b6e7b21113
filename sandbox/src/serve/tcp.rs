//! The eight TCP protocols, one for each behaviour of a peer that programs are tested with.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use super::buffers::{Buffer, Buffers};

/// What a port does with the connections it accepts. The numbers follow the order, from 7000 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Sends back what it reads.
    Echo,
    /// Reads everything and answers nothing.
    Discard,
    /// Writes the bytes 0, 1, ... 250, 0, 1, ... as fast as it can until the peer is gone.
    Source,
    /// Reads to the end of the stream, then answers `N bytes` and closes.
    HalfClose,
    /// Reads one byte, then resets the connection.
    Reset,
    /// Writes `welcome` and closes.
    Greeting,
    /// Accepts and never reads.
    Stalled,
    /// Writes the address and the port it sees as its peer, and closes.
    Whoami,
}

/// The source repeats every 251 bytes: a prime, so that lost or doubled blocks of any usual size show.
const SOURCE_PERIOD: usize = 251;

/// Whole periods in the block that the source writes at once, about 256 KiB.
const SOURCE_PERIODS: usize = 1044;

static SOURCE_BLOCK: [u8; SOURCE_PERIOD * SOURCE_PERIODS] = source_block();

impl Protocol {
    /// All of them, in the order of their ports.
    pub const ALL: [Self; 8] = [
        Self::Echo,
        Self::Discard,
        Self::Source,
        Self::HalfClose,
        Self::Reset,
        Self::Greeting,
        Self::Stalled,
        Self::Whoami,
    ];

    /// The name of the port, as a Service would call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Discard => "discard",
            Self::Source => "source",
            Self::HalfClose => "half-close",
            Self::Reset => "reset",
            Self::Greeting => "greeting",
            Self::Stalled => "stalled",
            Self::Whoami => "whoami",
        }
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(
    protocol: Protocol,
    stream: TcpStream,
    peer: SocketAddr,
    buffers: Arc<Buffers>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match protocol {
        Protocol::Echo => echo(stream, &buffers).await,
        Protocol::Discard => read_to_end(&stream, &buffers).await.map(drop),
        Protocol::Source => source(stream).await,
        Protocol::HalfClose => half_close(stream, &buffers).await,
        Protocol::Reset => reset(stream, &buffers).await,
        Protocol::Greeting => say(stream, "welcome\n").await,
        Protocol::Stalled => stall(stream).await,
        Protocol::Whoami => say(stream, &format!("{} {}\n", peer.ip().to_canonical(), peer.port())).await,
    }
}

async fn echo(mut stream: TcpStream, buffers: &Arc<Buffers>) -> io::Result<()> {
    while let Some((buffer, length)) = read(&stream, buffers).await? {
        stream.write_all(&buffer[..length]).await?;
    }
    stream.shutdown().await
}

async fn source(mut stream: TcpStream) -> io::Result<()> {
    loop {
        stream.write_all(&SOURCE_BLOCK).await?;
    }
}

async fn half_close(stream: TcpStream, buffers: &Arc<Buffers>) -> io::Result<()> {
    let total = read_to_end(&stream, buffers).await?;
    say(stream, &format!("{total} bytes\n")).await
}

async fn reset(stream: TcpStream, buffers: &Arc<Buffers>) -> io::Result<()> {
    if read(&stream, buffers).await?.is_some() {
        stream.set_zero_linger()?;
    }
    Ok(())
}

async fn say(mut stream: TcpStream, words: &str) -> io::Result<()> {
    stream.write_all(words.as_bytes()).await?;
    stream.shutdown().await
}

/// Holds the connection until the peer resets it, or until keep-alive finds that the peer is gone.
async fn stall(stream: TcpStream) -> io::Result<()> {
    keep_alive(&stream)?;
    stream.ready(Interest::ERROR).await.map(drop)
}

/// The bytes that are there, once some are; `None` at the end of the stream.
async fn read(stream: &TcpStream, buffers: &Arc<Buffers>) -> io::Result<Option<(Buffer, usize)>> {
    loop {
        stream.readable().await?;
        let mut buffer = buffers.borrow();
        match stream.try_read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(length) => return Ok(Some((buffer, length))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn read_to_end(stream: &TcpStream, buffers: &Arc<Buffers>) -> io::Result<u64> {
    let mut total = 0;
    while let Some((_, length)) = read(stream, buffers).await? {
        total += length as u64;
    }
    Ok(total)
}

fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    for (level, option, value) in [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 60),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 10),
    ] {
        let value: libc::c_int = value;
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the descriptor is owned by `stream`; `value` is a live int of the length given.
        let result = unsafe {
            libc::setsockopt(
                stream.as_raw_fd(),
                level,
                option,
                (&raw const value).cast(),
                length,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

const fn source_block() -> [u8; SOURCE_PERIOD * SOURCE_PERIODS] {
    let mut block = [0; SOURCE_PERIOD * SOURCE_PERIODS];
    let mut index = 0;
    while index < block.len() {
        block[index] = (index % SOURCE_PERIOD) as u8;
        index += 1;
    }
    block
}
