//! What the preloaded library asks of its relay, and the answers.
//!
//! One datagram of a `SOCK_SEQPACKET` socket is one message: a version byte, a kind byte, then the fields in little
//! endian. [`Request::Connect`] travels with the program's socket as ancillary data (`SCM_RIGHTS`, unix(7)).
//!
//! ```text
//! request   version kind payload
//! Connect      1     1   address
//! Peer         1     2   cookie u64
//! Failure      1     3   cookie u64
//! Resolve      1     4   family u8, purpose u8, name
//!
//! reply     version kind payload
//! Connected    1     1   -
//! InProgress   1     2   -
//! Local        1     3   -
//! Failed       1     4   failure u8
//! Peer         1     5   address
//! Unknown      1     6   -
//! Addresses    1     7   canonical name (u16 length), count u16, then each: family u8 and 4 or 16 bytes
//! NameFailed   1     8   failure u8
//!
//! address   family u8 (4 or 6), port u16, 4 or 16 bytes, and for 6 the scope u32
//! ```

mod data_address;
mod reply_ref;

pub use data_address::{DATA_NETWORK, DATA_PREFIX, is_data_address};
pub use reply_ref::{AddressList, ReplyRef};

use crate::failure::{ConnectFailure, NameFailure};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The version of this conversation. A library and a relay of different builds refuse each other.
pub const VERSION: u8 = 1;

/// The longest host name that is sent, in bytes: what the DNS allows in its textual form (RFC 1035, 2.3.4).
pub const MAX_NAME: usize = 254;

/// The largest request, in bytes.
pub const MAX_REQUEST: usize = 4 + MAX_NAME;

/// The largest reply, in bytes.
pub const MAX_REPLY: usize = 32 * 1024;

/// The most addresses that one reply carries; what a name has beyond them is left out.
pub const MAX_ADDRESSES: usize = 1024;

/// Which addresses a lookup wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Both, `AF_UNSPEC`.
    Any,
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

/// For which of libc's functions a lookup is made; they order the addresses differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// getaddrinfo(3): sorted by RFC 6724 as seen from the cluster.
    AddressInfo,
    /// gethostbyname(3) and its kin: in the order of the answer.
    HostEntry,
}

/// What the library asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Connect the attached socket to this target.
    Connect {
        /// The address that the program passed to connect(2).
        target: SocketAddr,
    },
    /// To which target was the socket with this `SO_COOKIE` connected?
    Peer {
        /// The socket's cookie (socket(7), `SO_COOKIE`).
        cookie: u64,
    },
    /// Why did the connect of the socket with this `SO_COOKIE` fail? The answer is given once.
    Failure {
        /// The socket's cookie.
        cookie: u64,
    },
    /// Which addresses has this name?
    Resolve {
        /// The wanted address family.
        family: Family,
        /// The function that asks.
        purpose: Purpose,
        /// The name as the program gave it, not empty and at most [`MAX_NAME`] bytes.
        name: &'a [u8],
    },
}

/// What the relay answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The socket is connected.
    Connected,
    /// The socket is connecting: its state is `SYN_SENT`, poll(2) tells when it is done.
    InProgress,
    /// The target belongs to the local network: call the real connect(2).
    Local,
    /// The connect failed.
    Failed(ConnectFailure),
    /// The target that the program asked for.
    Peer(SocketAddr),
    /// The relay knows nothing of this socket: what the kernel says stands.
    Unknown,
    /// The addresses of a name, best first.
    Addresses {
        /// The name's canonical form, as getaddrinfo(3) gives it for `AI_CANONNAME`.
        canonical: Vec<u8>,
        /// Its addresses, at least one.
        addresses: Vec<IpAddr>,
    },
    /// The name gave no address.
    NameFailed(NameFailure),
}

/// A message that is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// It ends before its fields do.
    Truncated,
    /// Bytes follow its last field.
    TrailingBytes,
    /// It was written by another build.
    Version(u8),
    /// A field holds a value that means nothing.
    Value(u8),
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Truncated => write!(formatter, "message ends early"),
            Self::TrailingBytes => write!(formatter, "message has trailing bytes"),
            Self::Version(version) => write!(formatter, "message has version {version}, expected {VERSION}"),
            Self::Value(value) => write!(formatter, "message holds the unknown value {value}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// An encoded request on the stack; the library may not allocate where it builds one.
#[derive(Clone, Copy, Debug)]
pub struct EncodedRequest {
    bytes: [u8; MAX_REQUEST],
    length: usize,
}

impl EncodedRequest {
    #[inline]
    fn new(kind: u8) -> Self {
        let mut encoded = Self {
            bytes: [0; MAX_REQUEST],
            length: 0,
        };
        encoded.put(&[VERSION, kind]);
        encoded
    }

    /// Appends what fits; every fixed field does, and a name is cut to [`MAX_NAME`] before it comes here.
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let room = self.bytes.iter_mut().skip(self.length);
        self.length = self.length.saturating_add(bytes.len()).min(MAX_REQUEST);
        for (place, byte) in room.zip(bytes) {
            *place = *byte;
        }
    }

    /// The bytes to send as one datagram.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }
}

impl<'a> Request<'a> {
    /// Encodes without allocating.
    #[inline]
    pub fn encode(&self) -> EncodedRequest {
        match self {
            Self::Connect { target } => {
                let mut encoded = EncodedRequest::new(1);
                let (address, length) = encode_address(target);
                encoded.put(address.get(..length).unwrap_or(&address));
                encoded
            }
            Self::Peer { cookie } => {
                let mut encoded = EncodedRequest::new(2);
                encoded.put(&cookie.to_le_bytes());
                encoded
            }
            Self::Failure { cookie } => {
                let mut encoded = EncodedRequest::new(3);
                encoded.put(&cookie.to_le_bytes());
                encoded
            }
            Self::Resolve {
                family,
                purpose,
                name,
            } => {
                let mut encoded = EncodedRequest::new(4);
                let family = match family {
                    Family::Any => 0,
                    Family::V4 => 4,
                    Family::V6 => 6,
                };
                let purpose = match purpose {
                    Purpose::AddressInfo => 1,
                    Purpose::HostEntry => 2,
                };
                encoded.put(&[family, purpose]);
                encoded.put(name.get(..MAX_NAME).unwrap_or(name));
                encoded
            }
        }
    }

    /// Decodes one datagram.
    pub fn decode(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields(message);
        let request = match fields.header()? {
            1 => Self::Connect {
                target: fields.address()?,
            },
            2 => Self::Peer {
                cookie: u64::from_le_bytes(fields.array()?),
            },
            3 => Self::Failure {
                cookie: u64::from_le_bytes(fields.array()?),
            },
            4 => {
                let family = match fields.byte()? {
                    0 => Family::Any,
                    4 => Family::V4,
                    6 => Family::V6,
                    other => return Err(DecodeError::Value(other)),
                };
                let purpose = match fields.byte()? {
                    1 => Purpose::AddressInfo,
                    2 => Purpose::HostEntry,
                    other => return Err(DecodeError::Value(other)),
                };
                let name = fields.rest();
                match name.len() {
                    0 => return Err(DecodeError::Truncated),
                    1..=MAX_NAME => Self::Resolve {
                        family,
                        purpose,
                        name,
                    },
                    _ => return Err(DecodeError::TrailingBytes),
                }
            }
            other => return Err(DecodeError::Value(other)),
        };
        fields.end().map(|()| request)
    }
}

impl Reply {
    /// Encodes into `buffer`, which is cleared first, so that a relay can reuse it.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.push(VERSION);
        match self {
            Self::Connected => buffer.push(1),
            Self::InProgress => buffer.push(2),
            Self::Local => buffer.push(3),
            Self::Failed(failure) => buffer.extend([4, *failure as u8]),
            Self::Peer(address) => {
                buffer.push(5);
                let (bytes, length) = encode_address(address);
                buffer.extend(&bytes[..length]);
            }
            Self::Unknown => buffer.push(6),
            Self::Addresses { canonical, addresses } => {
                buffer.push(7);
                let canonical = &canonical[..canonical.len().min(MAX_NAME)];
                let addresses = &addresses[..addresses.len().min(MAX_ADDRESSES)];
                buffer.extend((canonical.len() as u16).to_le_bytes());
                buffer.extend(canonical);
                buffer.extend((addresses.len() as u16).to_le_bytes());
                for address in addresses {
                    match address {
                        IpAddr::V4(v4) => {
                            buffer.push(4);
                            buffer.extend(v4.octets());
                        }
                        IpAddr::V6(v6) => {
                            buffer.push(6);
                            buffer.extend(v6.octets());
                        }
                    }
                }
            }
            Self::NameFailed(failure) => buffer.extend([8, *failure as u8]),
        }
    }

    /// Decodes one datagram.
    pub fn decode(message: &[u8]) -> Result<Self, DecodeError> {
        ReplyRef::decode(message).map(Self::from)
    }
}

#[inline]
fn encode_address(address: &SocketAddr) -> ([u8; 23], usize) {
    let mut bytes = [0; 23];
    bytes[1..3].copy_from_slice(&address.port().to_le_bytes());
    match address {
        SocketAddr::V4(v4) => {
            bytes[0] = 4;
            bytes[3..7].copy_from_slice(&v4.ip().octets());
            (bytes, 7)
        }
        SocketAddr::V6(v6) => {
            bytes[0] = 6;
            bytes[3..19].copy_from_slice(&v6.ip().octets());
            bytes[19..23].copy_from_slice(&v6.scope_id().to_le_bytes());
            (bytes, 23)
        }
    }
}

/// The fields of a message that are not read yet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    #[inline]
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    fn header(&mut self) -> Result<u8, DecodeError> {
        match self.byte()? {
            VERSION => self.byte(),
            other => Err(DecodeError::Version(other)),
        }
    }

    #[inline]
    fn ip(&mut self) -> Result<IpAddr, DecodeError> {
        match self.byte()? {
            4 => Ok(IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))),
            6 => Ok(IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))),
            other => Err(DecodeError::Value(other)),
        }
    }

    #[inline]
    fn address(&mut self) -> Result<SocketAddr, DecodeError> {
        let family = self.byte()?;
        let port = u16::from_le_bytes(self.array()?);
        match family {
            4 => Ok(SocketAddr::V4(SocketAddrV4::new(
                Ipv4Addr::from(self.array::<4>()?),
                port,
            ))),
            6 => {
                let ip = Ipv6Addr::from(self.array::<16>()?);
                let scope = u32::from_le_bytes(self.array()?);
                Ok(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))
            }
            other => Err(DecodeError::Value(other)),
        }
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    #[inline]
    fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests() -> Vec<Request<'static>> {
        vec![
            Request::Connect {
                target: "10.96.10.1:80".parse().unwrap(),
            },
            Request::Connect {
                target: SocketAddrV6::new("fe80::1".parse().unwrap(), 443, 0, 7).into(),
            },
            Request::Peer { cookie: u64::MAX },
            Request::Failure { cookie: 1 },
            Request::Resolve {
                family: Family::Any,
                purpose: Purpose::AddressInfo,
                name: b"web",
            },
            Request::Resolve {
                family: Family::V6,
                purpose: Purpose::HostEntry,
                name: &[b'a'; MAX_NAME],
            },
        ]
    }

    fn replies() -> Vec<Reply> {
        let mut replies = vec![
            Reply::Connected,
            Reply::InProgress,
            Reply::Local,
            Reply::Peer("[2001:db8::1]:53".parse().unwrap()),
            Reply::Unknown,
            Reply::Addresses {
                canonical: b"web.default.svc.cluster.local".to_vec(),
                addresses: vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
            },
        ];
        replies.extend(ConnectFailure::ALL.map(Reply::Failed));
        replies.extend(NameFailure::ALL.map(Reply::NameFailed));
        replies
    }

    #[test]
    fn every_request_survives_the_way_there() {
        for request in requests() {
            assert_eq!(Request::decode(request.encode().as_bytes()), Ok(request));
        }
    }

    #[test]
    fn every_reply_survives_the_way_back() {
        let mut buffer = Vec::new();
        for reply in replies() {
            reply.encode(&mut buffer);
            assert!(buffer.len() <= MAX_REPLY);
            assert_eq!(Reply::decode(&buffer), Ok(reply));
        }
    }

    #[test]
    fn a_full_reply_fits_its_limit() {
        let mut buffer = Vec::new();
        let addresses = vec![IpAddr::V6(Ipv6Addr::LOCALHOST); MAX_ADDRESSES + 1];
        Reply::Addresses {
            canonical: vec![b'a'; MAX_NAME + 1],
            addresses,
        }
        .encode(&mut buffer);
        assert!(buffer.len() <= MAX_REPLY);
        assert!(Reply::decode(&buffer).is_ok());
    }

    #[test]
    fn a_message_cut_short_is_refused_at_every_length() {
        for request in requests() {
            let encoded = request.encode();
            let whole = encoded.as_bytes();
            for length in 0..whole.len() {
                if let Ok(decoded) = Request::decode(&whole[..length]) {
                    // a name has no length of its own: a shorter one is another valid request
                    assert!(
                        matches!(decoded, Request::Resolve { .. }),
                        "{request:?} at {length}"
                    );
                }
            }
        }
        let mut whole = Vec::new();
        for reply in replies() {
            reply.encode(&mut whole);
            for length in 0..whole.len() {
                assert!(Reply::decode(&whole[..length]).is_err(), "{reply:?} at {length}");
            }
        }
    }

    #[test]
    fn garbage_is_refused_by_name() {
        assert_eq!(Request::decode(b""), Err(DecodeError::Truncated));
        assert_eq!(
            Request::decode(b"GET / HTTP/1.1"),
            Err(DecodeError::Version(b'G'))
        );
        assert_eq!(Request::decode(&[VERSION, 99]), Err(DecodeError::Value(99)));
        assert_eq!(
            Request::decode(&[VERSION, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            Err(DecodeError::TrailingBytes)
        );
        assert_eq!(Reply::decode(&[VERSION, 4, 0]), Err(DecodeError::Value(0)));
        assert_eq!(Reply::decode(&[VERSION, 5, 9, 0, 0]), Err(DecodeError::Value(9)));
    }
}
