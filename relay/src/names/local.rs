//! This machine's own name servers, for what the cluster does not know.
//!
//! Whoever the machine's resolv.conf(5) names is asked, in order, over UDP and then over TCP where the answer was cut.
//! The file is read for each question: machines move between networks.

use super::message::{self, Code, Query};
use super::resolv_conf::ResolvConf;
use super::resolver::{DNS_PORT, LOCAL_PATIENCE};
use crate::{log, words};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// The machine's resolver configuration.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The longest datagram.
const MAX_DATAGRAM: usize = 65_535;

/// The first answer that says whether the name exists; none if no server gives one in time.
pub(crate) async fn ask(query: &Query<'_>) -> Option<Vec<u8>> {
    // a machine without the file, or without a server in it, has one of its own (resolv.conf(5))
    let mut servers = configuration().await.servers;
    if servers.is_empty() {
        servers.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let share = LOCAL_PATIENCE / servers.len() as u32;
    for server in servers {
        let server = SocketAddr::new(server, DNS_PORT);
        match tokio::time::timeout(share, ask_server(server, query)).await {
            Ok(Ok(answer)) if matches!(message::code(&answer), Code::NoError | Code::NxDomain) => {
                return Some(answer);
            }
            Ok(Ok(answer)) => {
                let code = words::dns_code(message::code(&answer));
                log::debug!("this machine's name server {server} answers {code}");
            }
            Ok(Err(error)) => log::debug!("this machine's name server {server}: {error}"),
            Err(_) => log::debug!("this machine's name server {server} does not answer"),
        }
    }
    None
}

async fn configuration() -> ResolvConf {
    let text = tokio::fs::read(RESOLV_CONF).await.unwrap_or_default();
    ResolvConf::parse(&String::from_utf8_lossy(&text))
}

async fn ask_server(server: SocketAddr, query: &Query<'_>) -> io::Result<Vec<u8>> {
    let id = random_id()?;
    let question = query.with_id(id);
    let mut answer = over_udp(server, query, id, &question).await?;
    if message::is_cut(&answer) {
        answer = over_tcp(server, query, id, &question).await?;
    }
    message::set_id(&mut answer, query.id());
    Ok(answer)
}

/// What does not answer this question is passed over: anybody may send to the port.
async fn over_udp(server: SocketAddr, query: &Query<'_>, id: u16, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if query.is_answered_by(id, &buffer[..length]) {
            return Ok(buffer[..length].to_vec());
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &Query<'_>, id: u16, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    // in one segment: some servers read no further than the length
    stream
        .write_all(&[&length.to_be_bytes(), question].concat())
        .await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    if query.is_answered_by(id, &answer) {
        Ok(answer)
    } else {
        Err(io::Error::other("it answers another question"))
    }
}

/// An identifier that nobody can guess, as the source port.
fn random_id() -> io::Result<u16> {
    let mut id = [0; 2];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_be_bytes(id))
}
