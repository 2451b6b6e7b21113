//! Encoding and decoding of the fields of messages.

use super::{DecodeError, VERSION};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The fields of a message that are not read yet.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn header(&mut self) -> Result<u8, DecodeError> {
        match self.byte()? {
            VERSION => self.byte(),
            other => Err(DecodeError::Version(other)),
        }
    }

    #[inline]
    pub(super) fn ip(&mut self) -> Result<IpAddr, DecodeError> {
        match self.byte()? {
            4 => Ok(IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))),
            6 => Ok(IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))),
            other => Err(DecodeError::Value(other)),
        }
    }

    #[inline]
    pub(super) fn address(&mut self) -> Result<SocketAddr, DecodeError> {
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

    #[inline]
    pub(super) fn name(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = u16::from_le_bytes(self.array()?);
        self.take(usize::from(length))
    }

    #[inline]
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    #[inline]
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes)
        }
    }
}

/// The bytes of an address, and how many of them count.
#[inline]
pub(super) fn encode_address(address: &SocketAddr) -> ([u8; 23], usize) {
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
