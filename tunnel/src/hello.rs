//! The hello: the first bytes that each end sends, of a fixed size.
//!
//! ```text
//!  0         8      10     12                    44                    60
//!  | magic   | wire | len  | software version    | session             |
//!  | "kinject\0"    | of the version, then zeros | 16 random bytes     |
//! ```
//!
//! The layout is the same in all wire versions, so that two incompatible ends can at least name each other's version.

use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};

/// The version of the protocol after the hello. Ends with different wire versions refuse each other.
pub const WIRE_VERSION: u16 = 4;

/// Bytes of an encoded hello.
pub(crate) const HELLO_BYTES: usize = 60;

const MAGIC: &[u8; 8] = b"kinject\0";
const VERSION_BYTES: usize = 32;

/// The identity of a session, chosen by the relay once and kept over reconnects. Not a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// A new random identity.
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        fill_random(&mut bytes);
        SessionId(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// The version of an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Ends with different wire versions refuse each other.
    pub wire: u16,
    /// The release. Ends of different releases work together as long as the wire version is the same; the user is
    /// informed.
    pub software: String,
}

/// The first message of an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The sender's version.
    pub version: Version,
    /// The session the sender belongs to; an agent answers with the relay's.
    pub session: SessionId,
}

impl Version {
    /// The version of this build.
    pub fn own() -> Self {
        let mut software = env!("CARGO_PKG_VERSION").to_owned();
        software.truncate(VERSION_BYTES);
        Version {
            wire: WIRE_VERSION,
            software,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (wire {})", self.software, self.wire)
    }
}

impl Hello {
    /// The hello of this build.
    pub fn new(session: SessionId) -> Self {
        Hello {
            version: Version::own(),
            session,
        }
    }

    pub(crate) fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        let version = self.version.software.as_bytes();
        let len = version.len().min(VERSION_BYTES);
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&self.version.wire.to_be_bytes());
        bytes[10..12].copy_from_slice(&(len as u16).to_be_bytes());
        bytes[12..12 + len].copy_from_slice(&version[..len]);
        bytes[44..].copy_from_slice(self.session.bytes());
        bytes
    }

    /// `None` for anything that is not a hello, padding included.
    pub(crate) fn decode(bytes: &[u8; HELLO_BYTES]) -> Option<Self> {
        if &bytes[..8] != MAGIC {
            return None;
        }
        let len = usize::from(u16::from_be_bytes([bytes[10], bytes[11]]));
        if len > VERSION_BYTES {
            return None;
        }
        let (version, padding) = bytes[12..44].split_at(len);
        let software = std::str::from_utf8(version).ok()?;
        // The version is printed in messages on a terminal.
        if !software.bytes().all(|byte| byte.is_ascii_graphic()) || padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        let mut session = [0; 16];
        session.copy_from_slice(&bytes[44..]);
        Some(Hello {
            version: Version {
                wire: u16::from_be_bytes([bytes[8], bytes[9]]),
                software: software.to_owned(),
            },
            session: SessionId(session),
        })
    }
}

/// Fills the bytes from the system's random generator.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    // The generator fails only on a kernel without one; no session may start there.
    if SystemRandom::new().fill(bytes).is_err() {
        panic!("the system gives no random bytes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hello_decodes_to_what_was_encoded() {
        let hello = Hello::new(SessionId::random());
        assert_eq!(Hello::decode(&hello.encode()), Some(hello));
    }

    #[test]
    fn hello_of_a_later_wire_version_is_decoded() {
        let mut bytes = Hello::new(SessionId::random()).encode();
        bytes[8..10].copy_from_slice(&999_u16.to_be_bytes());
        assert_eq!(Hello::decode(&bytes).unwrap().version.wire, 999);
    }

    #[test]
    fn wrong_magic_length_padding_or_control_character_is_not_a_hello() {
        let good = Hello::new(SessionId::random()).encode();
        for (at, value) in [(0, b'K'), (7, 1), (10, 1), (11, 33), (12, 0x1b), (43, 1)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(Hello::decode(&bad), None, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn decoded_hello_encodes_to_the_same_bytes(tail in prop::collection::vec(any::<u8>(), HELLO_BYTES)) {
            let mut bytes: [u8; HELLO_BYTES] = tail.try_into().unwrap();
            bytes[..8].copy_from_slice(MAGIC);
            bytes[10] = 0;
            bytes[11] %= 40;
            if let Some(hello) = Hello::decode(&bytes) {
                prop_assert_eq!(hello.encode(), bytes);
            }
        }
    }
}
