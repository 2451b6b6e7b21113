//! What the library asks, and its bytes.

use super::fields::{Fields, encode_address};
use super::{
    DecodeError, DnsTransport, Family, FilePart, MAX_MESSAGE, MAX_NAME, MAX_PATH, Purpose, Search, VERSION,
};
use crate::executable::InjectionBlocker;
use std::net::{IpAddr, SocketAddr};

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
    /// Which address of the pod does the peer of the socket with this `SO_COOKIE` see? The answer's port means nothing.
    OwnAddress {
        /// The socket's cookie.
        cookie: u64,
    },
    /// The socket with this `SO_COOKIE` is unconnected again (connect(2) with `AF_UNSPEC`, or after a reported
    /// failure): forget it. The answer is a failure that its program has not been told, if any.
    Disconnect {
        /// The socket's cookie.
        cookie: u64,
    },
    /// The socket with this `SO_COOKIE` was shut down before it was ever connected (shutdown(2)).
    ShutDown {
        /// The socket's cookie.
        cookie: u64,
    },
    /// Where on loopback does a socket go that its program binds to this address?
    Bind {
        /// The address that the program passed to bind(2).
        address: SocketAddr,
    },
    /// For which address of the pod is this loopback address the stand-in?
    PodAddress {
        /// The address that the kernel gave.
        address: SocketAddr,
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
    /// What do the name servers answer to this DNS message?
    Query {
        /// How it would have been sent.
        transport: DnsTransport,
        /// How its name is completed, if it is.
        search: Option<Search>,
        /// The message (RFC 1035, 4.1), at most [`MAX_MESSAGE`] bytes.
        message: &'a [u8],
    },
    /// Which names has this address?
    Reverse {
        /// The address.
        address: IpAddr,
    },
    /// A program is about to start into which the library cannot be loaded.
    Uninjectable {
        /// Why not.
        blocker: InjectionBlocker,
        /// Whether it is refused because of that.
        is_refused: bool,
        /// The path of its file, or the end of it, not empty and at most [`MAX_NAME`] bytes.
        program: &'a [u8],
    },
    /// Where on loopback do datagrams of the attached socket to this target go?
    Flow {
        /// The address that the program passed to sendto(2) or connect(2).
        target: SocketAddr,
        /// Connect the socket there as well.
        connect: bool,
    },
    /// Of which target is a datagram that the socket with this `SO_COOKIE` received?
    Source {
        /// The socket's cookie.
        cookie: u64,
        /// Where it came from on loopback.
        address: SocketAddr,
    },
    /// Put what the container has at this path below the shadow root ([`crate::environment::PATHS`]). The answer is
    /// [`Reply::Noted`](super::Reply::Noted) when it is there, or [`Reply::Errno`](super::Reply::Errno).
    Fetch {
        /// How much of it.
        part: FilePart,
        /// Its absolute path in the container, without `.` and `..`, at most [`MAX_PATH`] bytes.
        path: &'a [u8],
    },
    /// What does the pod's resolv.conf say? Asked where the session's folder is not to be seen.
    ResolvConf,
}

/// The longest request without its name or message: a cookie and an IPv6 address.
const MAX_HEAD: usize = 2 + 8 + 23;

/// An encoded request on the stack; the library may not allocate where it builds one.
#[derive(Clone, Copy, Debug)]
pub struct EncodedRequest<'a> {
    head: [u8; MAX_HEAD],
    length: usize,
    tail: &'a [u8],
}

impl<'a> EncodedRequest<'a> {
    #[inline]
    fn new(kind: u8) -> Self {
        let mut encoded = Self {
            head: [0; MAX_HEAD],
            length: 0,
            tail: &[],
        };
        encoded.put(&[VERSION, kind]);
        encoded
    }

    /// Appends what fits; every fixed field does.
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let room = self.head.iter_mut().skip(self.length);
        self.length = self.length.saturating_add(bytes.len()).min(MAX_HEAD);
        for (slot, byte) in room.zip(bytes) {
            *slot = *byte;
        }
    }

    /// The bytes to send as one datagram, one part after the other.
    #[inline]
    pub fn parts(&self) -> [&[u8]; 2] {
        [self.head.get(..self.length).unwrap_or(&self.head), self.tail]
    }

    /// The parts in one piece.
    #[inline]
    pub fn to_vec(&self) -> Vec<u8> {
        self.parts().concat()
    }
}

impl<'a> Request<'a> {
    /// Encodes without allocating.
    #[inline]
    pub fn encode(&self) -> EncodedRequest<'a> {
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
            Self::OwnAddress { cookie } => {
                let mut encoded = EncodedRequest::new(8);
                encoded.put(&cookie.to_le_bytes());
                encoded
            }
            Self::Disconnect { cookie } => {
                let mut encoded = EncodedRequest::new(9);
                encoded.put(&cookie.to_le_bytes());
                encoded
            }
            Self::ShutDown { cookie } => {
                let mut encoded = EncodedRequest::new(12);
                encoded.put(&cookie.to_le_bytes());
                encoded
            }
            Self::Bind { address } => {
                let mut encoded = EncodedRequest::new(10);
                let (address, length) = encode_address(address);
                encoded.put(address.get(..length).unwrap_or(&address));
                encoded
            }
            Self::PodAddress { address } => {
                let mut encoded = EncodedRequest::new(11);
                let (address, length) = encode_address(address);
                encoded.put(address.get(..length).unwrap_or(&address));
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
                    Family::Mapped => 46,
                };
                let purpose = match purpose {
                    Purpose::AddressInfo => 1,
                    Purpose::HostEntry => 2,
                    Purpose::ConfiguredAddressInfo => 3,
                };
                encoded.put(&[family, purpose]);
                encoded.tail = name.get(..MAX_NAME).unwrap_or(name);
                encoded
            }
            Self::Query {
                transport,
                search,
                message,
            } => {
                let mut encoded = EncodedRequest::new(5);
                let transport = match transport {
                    DnsTransport::Stream => 1,
                    DnsTransport::Datagram => 2,
                };
                encoded.put(&[transport, Search::bits(*search)]);
                encoded.tail = message.get(..MAX_MESSAGE).unwrap_or(message);
                encoded
            }
            Self::Reverse { address } => {
                let mut encoded = EncodedRequest::new(32);
                match address {
                    IpAddr::V4(v4) => {
                        encoded.put(&[4]);
                        encoded.put(&v4.octets());
                    }
                    IpAddr::V6(v6) => {
                        encoded.put(&[6]);
                        encoded.put(&v6.octets());
                    }
                }
                encoded
            }
            Self::Uninjectable {
                blocker,
                is_refused,
                program,
            } => {
                let mut encoded = EncodedRequest::new(20);
                encoded.put(&[*blocker as u8, u8::from(*is_refused)]);
                let surplus = program.len().saturating_sub(MAX_NAME);
                encoded.tail = program.get(surplus..).unwrap_or(program);
                encoded
            }
            Self::Flow { target, connect } => {
                let mut encoded = EncodedRequest::new(6);
                encoded.put(&[u8::from(*connect)]);
                let (address, length) = encode_address(target);
                encoded.put(address.get(..length).unwrap_or(&address));
                encoded
            }
            Self::Source { cookie, address } => {
                let mut encoded = EncodedRequest::new(7);
                encoded.put(&cookie.to_le_bytes());
                let (address, length) = encode_address(address);
                encoded.put(address.get(..length).unwrap_or(&address));
                encoded
            }
            Self::Fetch { part, path } => {
                let mut encoded = EncodedRequest::new(14);
                encoded.put(&[*part as u8]);
                encoded.tail = path.get(..MAX_PATH).unwrap_or(path);
                encoded
            }
            Self::ResolvConf => EncodedRequest::new(13),
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
                    46 => Family::Mapped,
                    other => return Err(DecodeError::Value(other)),
                };
                let purpose = match fields.byte()? {
                    1 => Purpose::AddressInfo,
                    2 => Purpose::HostEntry,
                    3 => Purpose::ConfiguredAddressInfo,
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
            5 => {
                let transport = match fields.byte()? {
                    1 => DnsTransport::Stream,
                    2 => DnsTransport::Datagram,
                    other => return Err(DecodeError::Value(other)),
                };
                let bits = fields.byte()?;
                let search = Search::from_bits(bits).ok_or(DecodeError::Value(bits))?;
                let message = fields.rest();
                match message.len() {
                    0 => return Err(DecodeError::Truncated),
                    1..=MAX_MESSAGE => Self::Query {
                        transport,
                        search,
                        message,
                    },
                    _ => return Err(DecodeError::TrailingBytes),
                }
            }
            32 => Self::Reverse {
                address: fields.ip()?,
            },
            20 => {
                let value = fields.byte()?;
                let blocker = InjectionBlocker::from_wire(value).ok_or(DecodeError::Value(value))?;
                let is_refused = match fields.byte()? {
                    0 => false,
                    1 => true,
                    other => return Err(DecodeError::Value(other)),
                };
                let program = fields.rest();
                match program.len() {
                    0 => return Err(DecodeError::Truncated),
                    1..=MAX_NAME => Self::Uninjectable {
                        blocker,
                        is_refused,
                        program,
                    },
                    _ => return Err(DecodeError::TrailingBytes),
                }
            }
            6 => {
                let connect = match fields.byte()? {
                    0 => false,
                    1 => true,
                    other => return Err(DecodeError::Value(other)),
                };
                Self::Flow {
                    target: fields.address()?,
                    connect,
                }
            }
            7 => Self::Source {
                cookie: u64::from_le_bytes(fields.array()?),
                address: fields.address()?,
            },
            8 => Self::OwnAddress {
                cookie: u64::from_le_bytes(fields.array()?),
            },
            9 => Self::Disconnect {
                cookie: u64::from_le_bytes(fields.array()?),
            },
            10 => Self::Bind {
                address: fields.address()?,
            },
            11 => Self::PodAddress {
                address: fields.address()?,
            },
            12 => Self::ShutDown {
                cookie: u64::from_le_bytes(fields.array()?),
            },
            13 => Self::ResolvConf,
            14 => {
                let value = fields.byte()?;
                let part = FilePart::from_wire(value).ok_or(DecodeError::Value(value))?;
                let path = fields.rest();
                match path.len() {
                    0 => return Err(DecodeError::Truncated),
                    1..=MAX_PATH => Self::Fetch { part, path },
                    _ => return Err(DecodeError::TrailingBytes),
                }
            }
            other => return Err(DecodeError::Value(other)),
        };
        fields.end().map(|()| request)
    }
}
