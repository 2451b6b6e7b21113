//! What the relay answers, and its bytes.

use super::fields::encode_address;
use super::{DecodeError, MAX_ADDRESSES, MAX_MESSAGE, MAX_NAME, MAX_NAMES, ReplyRef, VERSION};
use crate::failure::{ConnectFailure, NameFailure};
use std::net::{IpAddr, SocketAddr};

/// What the relay answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The socket is connected.
    Connected,
    /// The socket is connecting: its state is `SYN_SENT`, poll(2) reports when it is done.
    InProgress,
    /// The target belongs to the local network: call the real connect(2).
    Local,
    /// The connect failed.
    Failed(ConnectFailure),
    /// The target that the program asked for, or the stand-in for its own address in the pod.
    Peer(SocketAddr),
    /// The relay does not know this socket: the kernel's result applies.
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
    /// What the name servers answered, at most [`MAX_MESSAGE`] bytes of it.
    Answer(Vec<u8>),
    /// The names of an address, the canonical one first.
    Names(Vec<Vec<u8>>),
    /// The relay has told the user.
    Noted,
    /// The loopback address of the flow to the target.
    Flow(SocketAddr),
    /// The attached file, which is open for reading.
    File,
    /// The file cannot be had: an errno, as open(2) in the container would give it.
    Errno(u16),
    /// The loopback address that is the stand-in for the pod's own: call the real function with it.
    StandIn(SocketAddr),
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
            Self::Answer(message) => {
                buffer.push(9);
                buffer.extend(&message[..message.len().min(MAX_MESSAGE)]);
            }
            Self::Names(names) => {
                let names = &names[..names.len().min(MAX_NAMES)];
                buffer.push(10);
                buffer.extend((names.len() as u16).to_le_bytes());
                for name in names {
                    let name = &name[..name.len().min(MAX_NAME)];
                    buffer.extend((name.len() as u16).to_le_bytes());
                    buffer.extend(name);
                }
            }
            Self::Noted => buffer.push(20),
            Self::Flow(address) => {
                buffer.push(11);
                let (bytes, length) = encode_address(address);
                buffer.extend(&bytes[..length]);
            }
            Self::StandIn(address) => {
                buffer.push(12);
                let (bytes, length) = encode_address(address);
                buffer.extend(&bytes[..length]);
            }
            Self::File => buffer.push(13),
            Self::Errno(errno) => {
                buffer.push(14);
                buffer.extend(errno.to_le_bytes());
            }
        }
    }

    /// Decodes one datagram.
    pub fn decode(message: &[u8]) -> Result<Self, DecodeError> {
        ReplyRef::decode(message).map(Self::from)
    }
}
