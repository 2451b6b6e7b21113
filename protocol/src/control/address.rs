//! The relay's two addresses, and the token that authenticates a request.
//!
//! The relay listens at two addresses. One is a path in the session's folder, which a program with a mount namespace or
//! a root of its own may not see. The other is a name in the abstract namespace of Unix sockets (unix(7)), which needs
//! no file system, and which the kernel shows in one network namespace alone: in another one there is no such name.
//!
//! No folder protects a name, and `/proc/net/unix` lists it. So every request, at either address, begins with the
//! session's token: 128 random bits in hexadecimal digits, which are in the environment of the session's programs.

/// The length of a token.
pub const TOKEN_LENGTH: usize = 32;

/// The session's token, with which each request begins.
pub type Token = [u8; TOKEN_LENGTH];

/// The length of a network namespace's number in hexadecimal digits.
const NETWORK_LENGTH: usize = 16;

/// The value of [`crate::environment::CONTROL`]: `TOKEN:NETWORK:NAME`. All fields but the name have fixed lengths, so
/// that the library does not have to search for separators.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ControlAddress<'a> {
    /// The name in the abstract namespace; empty if the relay listens at its path alone.
    pub name: &'a [u8],
    /// The session's token.
    pub token: &'a Token,
    /// The relay's network namespace, as `SO_NETNS_COOKIE` (Linux 5.14) of any socket in it; none on an older
    /// kernel.
    pub network: Option<u64>,
}

impl<'a> ControlAddress<'a> {
    /// Reads the value of the variable; none if it is not of that form.
    #[inline]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (token, rest) = value.split_at_checked(TOKEN_LENGTH)?;
        let (first, rest) = rest.split_at_checked(1)?;
        let (network, rest) = rest.split_at_checked(NETWORK_LENGTH)?;
        let (second, name) = rest.split_at_checked(1)?;
        if first != b":" || second != b":" {
            return None;
        }
        Some(Self {
            name,
            token: token.try_into().ok()?,
            // no namespace has that number
            network: Some(number(network)?).filter(|network| *network != 0),
        })
    }

    /// Writes the value of the variable.
    pub fn to_bytes(&self) -> Vec<u8> {
        let network = format!("{:0NETWORK_LENGTH$x}", self.network.unwrap_or_default());
        [self.token, network.as_bytes(), self.name].join(&b':')
    }
}

impl std::fmt::Debug for ControlAddress<'_> {
    /// Hides the token, so that no log shows it.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ControlAddress")
            .field("name", &self.name.escape_ascii().to_string())
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

#[inline]
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte.wrapping_sub(b'0'),
            b'a'..=b'f' => byte.wrapping_sub(b'a').wrapping_add(10),
            _ => return None,
        };
        Some(number << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &Token = b"0123456789abcdef0123456789abcdef";

    #[test]
    fn control_address_round_trips() {
        for (name, network) in [
            (&b"kinject-0123"[..], Some(u64::MAX)),
            (b"kinject-0123", None),
            (b"", Some(1)),
        ] {
            let address = ControlAddress {
                name,
                token: TOKEN,
                network,
            };
            assert_eq!(ControlAddress::parse(&address.to_bytes()), Some(address));
        }
    }

    #[test]
    fn malformed_control_address_is_rejected() {
        let (token, network) = ("0123456789abcdef0123456789abcdef", "000000000000000f");
        for value in [
            String::new(),
            token.to_owned(),
            format!("{token}:{network}"),
            format!("{token}0:{network}:name"),
            format!("{}:{network}:name", &token[1..]),
            format!("{token}:0{network}:name"),
            format!("{token}:{}:name", &network[1..]),
            format!("{token}:00000000000000-f:name"),
            format!("{token}:000000000000000F:name"),
        ] {
            assert_eq!(ControlAddress::parse(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn token_is_absent_from_debug_output() {
        let address = ControlAddress {
            name: b"kinject-0123",
            token: TOKEN,
            network: Some(1),
        };
        let logged = format!("{address:?}");
        assert!(logged.contains("kinject-0123"), "{logged}");
        assert!(!logged.contains("0123456789abcdef"), "{logged}");
    }
}
