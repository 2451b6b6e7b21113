//! SOCKS5's messages (RFC 1928).
//!
//! ```text
//! client: 5, count, methods...              server: 5, method
//! client: 5, command, 0, destination        server: 5, code, 0, address
//! datagrams: 0, 0, fragment, destination, payload
//! destination: type, address or length and name, port
//! ```

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const NO_ACCEPTABLE_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const ASSOCIATE: u8 = 3;
const V4: u8 = 1;
const NAME: u8 = 3;
const V6: u8 = 4;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) destination: Destination,
}

/// The commands that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Connect,
    Associate,
}

/// A target, as a client names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    pub(super) host: Host,
    pub(super) port: u16,
}

/// A target's host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Host {
    Address(IpAddr),
    Name(String),
}

/// The codes of replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyCode {
    Succeeded = 0,
    Failed = 1,
    NotAllowed = 2,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    Refused = 5,
    TtlExpired = 6,
    CommandNotSupported = 7,
    AddressTypeNotSupported = 8,
}

/// Why there is no request that could be served. The client was told where the protocol has words for it.
#[derive(Debug)]
pub(super) enum Rejection {
    /// The first byte is not SOCKS5's.
    NotSocks5(u8),
    /// The client wants a password.
    NoMethod,
    /// The command or the type of address is unknown.
    Unsupported,
    /// A name of other bytes than names have.
    BadName,
    /// The client is gone.
    Io(io::Error),
}

impl From<io::Error> for Rejection {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSocks5(_) => formatter.write_str("it speaks no SOCKS5"),
            Self::NoMethod => formatter.write_str("it insists on authentication"),
            Self::Unsupported => formatter.write_str("it asks for what is not supported"),
            Self::BadName => formatter.write_str("it names a host by other bytes than ASCII"),
            Self::Io(error) => error.fmt(formatter),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            Self::Name(name) => formatter.write_str(name),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) => SocketAddr::new(*address, self.port).fmt(formatter),
            Host::Name(name) => write!(formatter, "{name}:{}", self.port),
        }
    }
}

/// Reads a client's request, and answers what has to be answered before it. No byte behind the request is read.
pub(super) async fn request(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<Request, Rejection> {
    let version = client.read_u8().await?;
    if version != VERSION {
        return Err(Rejection::NotSocks5(version));
    }
    let count = client.read_u8().await?;
    let mut methods = vec![0; count.into()];
    client.read_exact(&mut methods).await?;
    if !methods.contains(&NO_AUTHENTICATION) {
        client.write_all(&[VERSION, NO_ACCEPTABLE_METHOD]).await?;
        return Err(Rejection::NoMethod);
    }
    client.write_all(&[VERSION, NO_AUTHENTICATION]).await?;
    let mut head = [0; 4];
    client.read_exact(&mut head).await?;
    let [version, command, _, kind] = head;
    if version != VERSION {
        return Err(Rejection::NotSocks5(version));
    }
    let host = match kind {
        V4 => {
            let mut octets = [0; 4];
            client.read_exact(&mut octets).await?;
            Some(Host::Address(Ipv4Addr::from(octets).into()))
        }
        V6 => {
            let mut octets = [0; 16];
            client.read_exact(&mut octets).await?;
            Some(Host::Address(Ipv6Addr::from(octets).into()))
        }
        NAME => {
            let length = client.read_u8().await?;
            let mut name = vec![0; length.into()];
            client.read_exact(&mut name).await?;
            name_of(&name)
        }
        _ => return reject(client, ReplyCode::AddressTypeNotSupported, Rejection::Unsupported).await,
    };
    let port = client.read_u16().await?;
    let Some(host) = host else {
        return reject(client, ReplyCode::HostUnreachable, Rejection::BadName).await;
    };
    let command = match command {
        CONNECT => Command::Connect,
        ASSOCIATE => Command::Associate,
        _ => return reject(client, ReplyCode::CommandNotSupported, Rejection::Unsupported).await,
    };
    Ok(Request {
        command,
        destination: Destination { host, port },
    })
}

async fn reject(
    client: &mut (impl AsyncWrite + Unpin),
    code: ReplyCode,
    rejection: Rejection,
) -> Result<Request, Rejection> {
    let none = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    client.write_all(&reply(code, none)).await?;
    Err(rejection)
}

/// A name may be an address in letters, as some clients send it.
fn name_of(bytes: &[u8]) -> Option<Host> {
    let name = std::str::from_utf8(bytes).ok().filter(|name| name.is_ascii())?;
    let is_name = !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_control() || byte == b' ');
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bare.unwrap_or(name).parse() {
        Ok(address) => Some(Host::Address(address)),
        Err(_) => is_name.then(|| Host::Name(name.to_owned())),
    }
}

/// A reply with this address.
pub(super) fn reply(code: ReplyCode, address: SocketAddr) -> Vec<u8> {
    let mut reply = vec![VERSION, code as u8, 0];
    put_address(&mut reply, address);
    reply
}

fn put_address(bytes: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(v4) => {
            bytes.push(V4);
            bytes.extend(v4.octets());
        }
        IpAddr::V6(v6) => {
            bytes.push(V6);
            bytes.extend(v6.octets());
        }
    }
    bytes.extend(address.port().to_be_bytes());
}

/// The destination and payload of a client's datagram; none for one that is malformed or a fragment.
pub(super) fn datagram(bytes: &[u8]) -> Option<(Destination, &[u8])> {
    let (head, rest) = bytes.split_at_checked(4)?;
    let [0, 0, 0, kind] = head else { return None };
    let (host, rest) = match *kind {
        V4 => {
            let (octets, rest) = rest.split_first_chunk::<4>()?;
            (Host::Address(Ipv4Addr::from(*octets).into()), rest)
        }
        V6 => {
            let (octets, rest) = rest.split_first_chunk::<16>()?;
            (Host::Address(Ipv6Addr::from(*octets).into()), rest)
        }
        NAME => {
            let (length, rest) = rest.split_first()?;
            let (name, rest) = rest.split_at_checked((*length).into())?;
            (name_of(name)?, rest)
        }
        _ => return None,
    };
    let (port, payload) = rest.split_first_chunk::<2>()?;
    let port = u16::from_be_bytes(*port);
    Some((Destination { host, port }, payload))
}

/// A datagram for the client, from this destination.
pub(super) fn datagram_from(destination: &Destination, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0];
    match &destination.host {
        Host::Address(address) => put_address(&mut bytes, SocketAddr::new(*address, destination.port)),
        Host::Name(name) => {
            bytes.push(NAME);
            // a name that a client has sent fits
            bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            bytes.extend(name.bytes().take(u8::MAX.into()));
            bytes.extend(destination.port.to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a client that sends these bytes asks for, and what it is answered.
    async fn exchange(sent: &[u8]) -> (Result<Request, Rejection>, Vec<u8>) {
        let (mut server, mut client) = tokio::io::duplex(1024);
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        let request = request(&mut server).await;
        drop(server);
        let mut answered = Vec::new();
        client.read_to_end(&mut answered).await.unwrap();
        (request, answered)
    }

    fn destination(text: &str, port: u16) -> Destination {
        Destination {
            host: name_of(text.as_bytes()).unwrap(),
            port,
        }
    }

    #[tokio::test]
    async fn connect_by_name_and_by_address_is_read() {
        let greeting = [5, 2, 2, 0];
        for (sent, command, wanted) in [
            (
                &b"\x05\x01\0\x03\x03web\0\x50"[..],
                Command::Connect,
                destination("web", 80),
            ),
            (
                b"\x05\x01\0\x01\x0a\x60\x0a\x01\x01\xbb",
                Command::Connect,
                destination("10.96.10.1", 443),
            ),
            (
                b"\x05\x01\0\x04\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\x50",
                Command::Connect,
                destination("fd00::7", 80),
            ),
            (
                b"\x05\x03\0\x01\0\0\0\0\0\0",
                Command::Associate,
                destination("0.0.0.0", 0),
            ),
            (
                b"\x05\x01\0\x03\x0810.0.0.1\0\x50",
                Command::Connect,
                destination("10.0.0.1", 80),
            ),
        ] {
            let (request, answered) = exchange(&[&greeting, sent].concat()).await;
            let expected = Request {
                command,
                destination: wanted,
            };
            assert_eq!(request.unwrap(), expected);
            assert_eq!(answered, [5, 0]);
        }
    }

    #[tokio::test]
    async fn client_that_cannot_be_served_is_told_why() {
        let (request, answered) = exchange(&[5, 1, 2]).await;
        assert!(matches!(request, Err(Rejection::NoMethod)));
        assert_eq!(answered, [5, 0xff]);
        for (sent, code) in [
            (&b"\x05\x01\0\x05\x02\0\x01\x0a\0\0\x01\0\x50"[..], 7),
            (b"\x05\x01\0\x05\x01\0\x09\x0a\0\0\x01\0\x50", 8),
            (b"\x05\x01\0\x05\x01\0\x03\x02\xff\xfe\0\x50", 4),
            (b"\x05\x01\0\x05\x01\0\x03\0\0\x50", 4),
        ] {
            let (request, answered) = exchange(sent).await;
            assert!(matches!(
                request,
                Err(Rejection::Unsupported | Rejection::BadName)
            ));
            assert_eq!(answered, [5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0]);
        }
        let (request, answered) = exchange(b"GET / HTTP/1.1\r\n").await;
        assert!(matches!(request, Err(Rejection::NotSocks5(b'G'))));
        assert_eq!(answered, b"");
        let (request, _) = exchange(b"\x05\x01").await;
        assert!(matches!(request, Err(Rejection::Io(_))));
    }

    #[test]
    fn fragments_and_truncated_datagrams_are_dropped() {
        let whole = b"\0\0\0\x01\x0a\0\0\x01\0\x35query";
        let (to, payload) = datagram(whole).unwrap();
        assert_eq!((to, payload), (destination("10.0.0.1", 53), &b"query"[..]));
        assert_eq!(datagram(b"\0\0\x01\x01\x0a\0\0\x01\0\x35query"), None);
        for length in 0..10 {
            assert_eq!(datagram(&whole[..length]), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_datagram_is_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _read = datagram(&bytes);
        }

        #[test]
        fn datagrams_round_trip(
            name in "[a-z][a-z.-]{0,200}",
            port: u16,
            payload in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let from = Destination { host: Host::Name(name), port };
            let bytes = datagram_from(&from, &payload);
            prop_assert_eq!(datagram(&bytes), Some((from, payload.as_slice())));
        }
    }
}
