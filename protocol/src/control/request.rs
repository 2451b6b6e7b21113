//! What the library asks, and its bytes.

use super::fields::{Fields, encode_address};
use super::{DecodeError, Family, MAX_NAME, MAX_REQUEST, Purpose, VERSION};
use std::net::SocketAddr;

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
