//! A reply that borrows from its buffer.

use super::fields::Fields;
use super::{DecodeError, MAX_ADDRESSES, MAX_MESSAGE, MAX_NAMES, Reply};
use crate::failure::{ConnectFailure, NameFailure};
use std::net::{IpAddr, SocketAddr};

/// A [`Reply`] that borrows from the message: decoding allocates nothing, as the preloaded library needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyRef<'a> {
    /// [`Reply::Connected`].
    Connected,
    /// [`Reply::InProgress`].
    InProgress,
    /// [`Reply::Local`].
    Local,
    /// [`Reply::Failed`].
    Failed(ConnectFailure),
    /// [`Reply::Peer`].
    Peer(SocketAddr),
    /// [`Reply::Unknown`].
    Unknown,
    /// [`Reply::Addresses`].
    Addresses {
        /// The name's canonical form.
        canonical: &'a [u8],
        /// Its addresses.
        addresses: AddressList<'a>,
    },
    /// [`Reply::NameFailed`].
    NameFailed(NameFailure),
    /// [`Reply::Answer`].
    Answer(&'a [u8]),
    /// [`Reply::Names`].
    Names(NameList<'a>),
    /// [`Reply::Noted`].
    Noted,
    /// [`Reply::Flow`].
    Flow(SocketAddr),
    /// [`Reply::File`].
    File,
    /// [`Reply::Errno`].
    Errno(u16),
    /// [`Reply::StandIn`].
    StandIn(SocketAddr),
}

impl<'a> ReplyRef<'a> {
    /// Decodes one datagram.
    #[inline]
    pub fn decode(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields(message);
        let reply = match fields.header()? {
            1 => Self::Connected,
            2 => Self::InProgress,
            3 => Self::Local,
            4 => {
                let value = fields.byte()?;
                Self::Failed(ConnectFailure::from_wire(value).ok_or(DecodeError::Value(value))?)
            }
            5 => Self::Peer(fields.address()?),
            6 => Self::Unknown,
            7 => {
                let canonical = fields.name()?;
                let count = u16::from_le_bytes(fields.array()?);
                let addresses = AddressList(fields.0);
                for _ in 0..count {
                    fields.ip()?;
                }
                Self::Addresses { canonical, addresses }
            }
            8 => {
                let value = fields.byte()?;
                Self::NameFailed(NameFailure::from_wire(value).ok_or(DecodeError::Value(value))?)
            }
            9 => {
                let message = fields.rest();
                match message.len() {
                    0 => return Err(DecodeError::Truncated),
                    1..=MAX_MESSAGE => Self::Answer(message),
                    _ => return Err(DecodeError::TrailingBytes),
                }
            }
            10 => {
                let count = u16::from_le_bytes(fields.array()?);
                let names = NameList(fields.0);
                for _ in 0..count {
                    fields.name()?;
                }
                Self::Names(names)
            }
            20 => Self::Noted,
            11 => Self::Flow(fields.address()?),
            12 => Self::StandIn(fields.address()?),
            13 => Self::File,
            14 => Self::Errno(u16::from_le_bytes(fields.array()?)),
            other => return Err(DecodeError::Value(other)),
        };
        fields.end().map(|()| reply)
    }
}

impl From<ReplyRef<'_>> for Reply {
    fn from(reply: ReplyRef<'_>) -> Self {
        match reply {
            ReplyRef::Connected => Self::Connected,
            ReplyRef::InProgress => Self::InProgress,
            ReplyRef::Local => Self::Local,
            ReplyRef::Failed(failure) => Self::Failed(failure),
            ReplyRef::Peer(address) => Self::Peer(address),
            ReplyRef::Unknown => Self::Unknown,
            ReplyRef::Addresses { canonical, addresses } => Self::Addresses {
                canonical: canonical.to_vec(),
                addresses: addresses.take(MAX_ADDRESSES).collect(),
            },
            ReplyRef::NameFailed(failure) => Self::NameFailed(failure),
            ReplyRef::Answer(message) => Self::Answer(message.to_vec()),
            ReplyRef::Names(names) => Self::Names(names.take(MAX_NAMES).map(<[u8]>::to_vec).collect()),
            ReplyRef::Noted => Self::Noted,
            ReplyRef::Flow(address) => Self::Flow(address),
            ReplyRef::File => Self::File,
            ReplyRef::Errno(errno) => Self::Errno(errno),
            ReplyRef::StandIn(address) => Self::StandIn(address),
        }
    }
}

/// The addresses of a name, best first: an iterator over bytes that [`ReplyRef::decode`] has checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressList<'a>(&'a [u8]);

impl Iterator for AddressList<'_> {
    type Item = IpAddr;

    #[inline]
    fn next(&mut self) -> Option<IpAddr> {
        let mut fields = Fields(self.0);
        let address = fields.ip().ok()?;
        self.0 = fields.0;
        Some(address)
    }
}

/// The names of an address, the canonical one first: an iterator over bytes that [`ReplyRef::decode`] has checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameList<'a>(&'a [u8]);

impl<'a> Iterator for NameList<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let mut fields = Fields(self.0);
        let name = fields.name().ok()?;
        self.0 = fields.0;
        Some(name)
    }
}
