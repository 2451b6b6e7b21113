//! What the preloaded library asks of its relay, and the answers.
//!
//! One datagram of a `SOCK_SEQPACKET` socket is one message: a version byte, a kind byte, then the fields in little
//! endian. Each request begins with the session's token ([`ControlAddress`]). [`Request::Connect`] and
//! [`Request::Flow`] travel with the program's socket as ancillary data (`SCM_RIGHTS`, unix(7)), [`Reply::File`] with a
//! file.
//!
//! ```text
//! request   version kind payload
//! Connect      1     1   address
//! Peer         1     2   cookie u64
//! Failure      1     3   cookie u64
//! Resolve      1     4   family u8, purpose u8, name
//! Query        1     5   transport u8, search u8, DNS message
//! Reverse      1    32   family u8 (4 or 6) and 4 or 16 bytes
//! Uninjectable 1    20   blocker u8, 1 if it is refused, name
//! Flow         1     6   connect u8, address
//! Source       1     7   cookie u64, address
//! OwnAddress   1     8   cookie u64
//! Disconnect   1     9   cookie u64
//! Bind         1    10   address
//! PodAddress   1    11   address
//! ShutDown     1    12   cookie u64
//! ResolvConf   1    13   -
//! Fetch        1    14   part u8, path
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
//! Answer       1     9   DNS message
//! Names        1    10   count u16, then each: name (u16 length)
//! Noted        1    20   -
//! Flow         1    11   address
//! StandIn      1    12   address
//! File         1    13   -
//! Errno        1    14   errno u16
//!
//! address   family u8 (4 or 6), port u16, 4 or 16 bytes, and for 6 the scope u32
//! search    bits: 1 RES_DEFNAMES, 2 RES_DNSRCH, 4 RES_NOTLDQUERY; 0x80 for any search at all
//! ```

mod address;
mod data_address;
mod fields;
mod file_part;
mod lookup;
mod reply;
mod reply_ref;
mod request;

pub use address::{ControlAddress, TOKEN_LENGTH, Token};
pub use data_address::{SessionAddresses, is_data_address, is_of_every_machine, is_stand_in};
pub use file_part::FilePart;
pub use lookup::{DnsTransport, Family, Purpose, Search};
pub use reply::Reply;
pub use reply_ref::{AddressList, NameList, ReplyRef};
pub use request::{EncodedRequest, Request};

/// The protocol's version. A library and a relay of different builds refuse each other.
pub const VERSION: u8 = 1;

/// The longest host name that is sent, in bytes: what the DNS allows in its textual form (RFC 1035, 2.3.4).
pub const MAX_NAME: usize = 254;

/// The longest DNS message, in bytes: what its length in front of it over TCP can say (RFC 1035, 4.2.2).
pub const MAX_MESSAGE: usize = 65_535;

/// The longest path that is sent, in bytes: `PATH_MAX` without its zero.
pub const MAX_PATH: usize = 4095;

/// The largest request that carries no DNS message, in bytes, without its token.
pub const MAX_SMALL_REQUEST: usize = 4 + MAX_NAME;

/// The largest request, in bytes, without its token.
pub const MAX_REQUEST: usize = 4 + MAX_MESSAGE;

/// The largest reply that is no DNS message, in bytes.
pub const MAX_REPLY: usize = 32 * 1024;

/// The largest reply that is a DNS message, in bytes.
pub const MAX_ANSWER: usize = 2 + MAX_MESSAGE;

/// The most addresses that one reply carries; further ones are left out.
pub const MAX_ADDRESSES: usize = 1024;

/// The most names of one address that a reply carries.
pub const MAX_NAMES: usize = 64;

/// Why a message cannot be decoded.
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

#[cfg(test)]
mod tests;
