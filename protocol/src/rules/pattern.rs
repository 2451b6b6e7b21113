//! Patterns of rules.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Some targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Any,
    /// An address whose bits behind the prefix are 0.
    Network(IpAddr, u32),
    /// In small letters, without a final dot.
    Name(String),
    /// What every name under a domain ends with: a dot and the domain.
    Suffix(String),
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// There is nothing.
    Empty,
    /// The port is no number from 1 to 65535.
    Port,
    /// An IPv6 address and a port cannot be told apart.
    Brackets,
    /// The part before the slash is no address.
    Address,
    /// Too long a prefix of an IPv4 network, or no number.
    PrefixV4,
    /// Too long a prefix of an IPv6 network, or no number.
    PrefixV6,
    /// A star elsewhere than in place of the first labels.
    Star,
    /// No host name.
    Name,
    /// Loopback does not go through a cluster.
    Loopback,
}

impl fmt::Display for PatternError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "there is no pattern",
            Self::Port => "a port is a number from 1 to 65535",
            Self::Brackets => "an IPv6 address with a port is written [ADDRESS]:PORT",
            Self::Address => "what stands before the slash is no address",
            Self::PrefixV4 => "a prefix of IPv4 has at most 32 bits",
            Self::PrefixV6 => "a prefix of IPv6 has at most 128 bits",
            Self::Star => "a star stands for everything, or for the beginning of a name: *.example.com",
            Self::Name => "this is neither an address nor a host name",
            Self::Loopback => "loopback is always this machine's",
        })
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// The only port that it is about, if there is one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether it is about loopback alone.
    pub(super) fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Any => false,
            Host::Network(IpAddr::V4(v4), prefix) => v4.is_loopback() && *prefix >= 8,
            Host::Network(IpAddr::V6(v6), prefix) => v6.is_loopback() && *prefix == 128,
            Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Suffix(suffix) => suffix.ends_with(".localhost"),
        }
    }

    pub(super) fn covers_name(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        match &self.host {
            Host::Any => true,
            Host::Network(..) => false,
            Host::Name(own) => own.eq_ignore_ascii_case(name),
            Host::Suffix(suffix) => {
                let Some(begin) = name.len().checked_sub(suffix.len()) else {
                    return false;
                };
                begin > 0
                    && name
                        .get(begin..)
                        .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            }
        }
    }

    pub(super) fn covers_address(&self, address: IpAddr) -> bool {
        match &self.host {
            Host::Any => true,
            Host::Network(network, prefix) => masked(address.to_canonical(), *prefix) == Some(*network),
            Host::Name(_) | Host::Suffix(_) => false,
        }
    }
}

/// The network of this prefix that an address is in; none if it has fewer bits.
fn masked(address: IpAddr, prefix: u32) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => {
            let shift = u32::BITS.checked_sub(prefix)?;
            let mask = u32::MAX.checked_shl(shift).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let shift = u128::BITS.checked_sub(prefix)?;
            let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    })
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (host, port) = split_port(text)?;
        let port = match port.map(str::parse) {
            None => None,
            Some(Ok(port)) if port != 0 => Some(port),
            Some(_) => return Err(PatternError::Port),
        };
        Ok(Self {
            host: host.parse()?,
            port,
        })
    }
}

fn split_port(text: &str) -> Result<(&str, Option<&str>), PatternError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(PatternError::Brackets)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(PatternError::Brackets),
        };
    }
    match text.matches(':').count() {
        0 => Ok((text, None)),
        1 => Ok(text
            .split_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port)))),
        _ => {
            let address = text.split('/').next().unwrap_or(text);
            match address.parse::<IpAddr>() {
                Ok(_) => Ok((text, None)),
                Err(_) => Err(PatternError::Brackets),
            }
        }
    }
}

impl FromStr for Host {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some((address, prefix)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| PatternError::Address)?;
            let wrong = if address.is_ipv4() {
                PatternError::PrefixV4
            } else {
                PatternError::PrefixV6
            };
            let prefix = prefix.parse().map_err(|_| wrong)?;
            return Ok(Self::Network(masked(address, prefix).ok_or(wrong)?, prefix));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            let address = address.to_canonical();
            return Ok(Self::Network(address, if address.is_ipv4() { 32 } else { 128 }));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if let Some(domain) = name.strip_prefix("*.") {
            return if is_name(domain) {
                Ok(Self::Suffix(format!(".{domain}")))
            } else if domain.contains('*') {
                Err(PatternError::Star)
            } else {
                Err(PatternError::Name)
            };
        }
        match is_name(&name) {
            true => Ok(Self::Name(name)),
            false if name.contains('*') => Err(PatternError::Star),
            false => Err(PatternError::Name),
        }
    }
}

/// Letters, digits, hyphens and underscores, in labels of the DNS; numbers alone are an address that is none.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= 253 && name.split('.').all(is_label) && !name.split('.').all(is_number)
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match &self.host {
            Host::Any => "*".to_owned(),
            Host::Network(address, prefix) if *prefix == if address.is_ipv4() { 32 } else { 128 } => {
                address.to_string()
            }
            Host::Network(address, prefix) => format!("{address}/{prefix}"),
            Host::Name(name) => name.clone(),
            Host::Suffix(suffix) => format!("*{suffix}"),
        };
        match self.port {
            None => formatter.write_str(&host),
            Some(port) if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Some(port) => write!(formatter, "{host}:{port}"),
        }
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.to_string()
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn covers(text: &str, address: &str) -> bool {
        pattern(text).covers_address(address.parse().unwrap())
    }

    #[test]
    fn network_pattern_matches_its_addresses() {
        assert!(covers("10.0.0.0/8", "10.255.0.1") && !covers("10.0.0.0/8", "11.0.0.1"));
        assert!(covers("10.1.2.3/8", "10.9.9.9"));
        assert!(covers("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(covers("0.0.0.0/0", "192.0.2.1") && !covers("0.0.0.0/0", "fd00::1"));
        assert!(covers("fd00::/8", "fd12::1") && !covers("fd00::/8", "fe80::1"));
        assert!(covers("::/0", "2001:db8::1") && !covers("::/0", "10.0.0.1"));
        assert!(covers("192.0.2.1", "192.0.2.1") && !covers("192.0.2.1", "192.0.2.2"));
        assert!(covers("*", "192.0.2.1") && covers("*", "::1") && !covers("web", "10.0.0.1"));
    }

    #[test]
    fn name_pattern_matches_the_name_and_suffix_its_subdomains() {
        let covers = |text: &str, name: &str| pattern(text).covers_name(name);
        assert!(covers("web", "WEB") && covers("Web.", "web.") && !covers("web", "web.default"));
        assert!(covers("*.example.com", "a.b.Example.COM.") && !covers("*.example.com", "example.com"));
        assert!(!covers("*.example.com", "badexample.com") && !covers("*.example.com", ".example.com"));
        assert!(!covers("*.example.com", "é.com") && covers("*", "anything"));
        assert!(!covers("10.0.0.0/8", "web"));
    }

    #[test]
    fn every_pattern_accepts_a_port() {
        for (text, shown) in [
            ("web:80", "web:80"),
            ("*:53", "*:53"),
            ("*.test:1", "*.test:1"),
            ("10.0.0.0/8:443", "10.0.0.0/8:443"),
            ("10.0.0.1:65535", "10.0.0.1:65535"),
            ("[fd00::1]:80", "[fd00::1]:80"),
            ("[fd00::/8]:80", "[fd00::/8]:80"),
            ("[fd00::/8]", "fd00::/8"),
            ("fd00::1/128", "fd00::1"),
        ] {
            assert_eq!(pattern(text).to_string(), shown);
        }
    }

    #[test]
    fn invalid_pattern_is_rejected_with_a_specific_error() {
        for (text, error) in [
            ("", PatternError::Empty),
            (":80", PatternError::Empty),
            ("web:", PatternError::Port),
            ("web:0", PatternError::Port),
            ("web:65536", PatternError::Port),
            ("web:http", PatternError::Port),
            ("fd00::g", PatternError::Brackets),
            ("[fd00::1", PatternError::Brackets),
            ("[fd00::1]80", PatternError::Brackets),
            ("a:b:c", PatternError::Brackets),
            ("web/8", PatternError::Address),
            ("10.0.0.0/33", PatternError::PrefixV4),
            ("10.0.0.0/-1", PatternError::PrefixV4),
            ("10.0.0.0/", PatternError::PrefixV4),
            ("fd00::/129", PatternError::PrefixV6),
            ("a.*.com", PatternError::Star),
            ("*.*.com", PatternError::Star),
            ("*com", PatternError::Star),
            ("10.0.0", PatternError::Name),
            ("10.0.0.256", PatternError::Name),
            ("a..b", PatternError::Name),
            ("with space", PatternError::Name),
            ("*.", PatternError::Star),
        ] {
            assert_eq!(text.parse::<Pattern>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn loopback_is_recognized_in_every_notation() {
        for text in [
            "127.0.0.1",
            "127.0.0.0/8",
            "::1",
            "localhost",
            "a.localhost",
            "*.localhost",
            "127.1.0.0/16:80",
        ] {
            assert!(pattern(text).is_loopback(), "{text}");
        }
        for text in ["*", "0.0.0.0/0", "::/0", "126.0.0.0/7", "localhost.example.com"] {
            assert!(!pattern(text).is_loopback(), "{text}");
        }
    }
}
