//! The address of a direct transport: `unix:PATH` or `tcp:HOST:PORT`.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

use tokio::net::{TcpStream, UnixStream};

use super::Stream;

/// The address of a direct transport.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A Unix socket in the file system.
    Unix(PathBuf),
    /// A TCP address. The host is a name or an IP literal, IPv6 without brackets.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
}

/// A text that is not an [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The text begins neither with `unix:` nor with `tcp:`.
    #[error("`{0}` is not an address of the form unix:PATH or tcp:HOST:PORT")]
    Scheme(String),
    /// `unix:` without a path.
    #[error("`{0}` names no path after unix:")]
    NoPath(String),
    /// `tcp:` without a host.
    #[error("`{0}` names no host after tcp:")]
    NoHost(String),
    /// The port is missing or not a number from 0 to 65535.
    #[error("`{0}` does not end in a port from 0 to 65535")]
    Port(String),
    /// An IPv6 address needs brackets, so that its last group is not taken for the port.
    #[error("`{0}` has an IPv6 address without brackets; write tcp:[ADDRESS]:PORT")]
    Brackets(String),
}

impl Endpoint {
    /// Connects. TCP_NODELAY is set on a TCP stream, since it carries the frames of many connections.
    pub async fn connect(&self) -> io::Result<Stream> {
        match self {
            Endpoint::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Endpoint::Tcp { host, port } => {
                let tcp = TcpStream::connect((host.as_str(), *port)).await?;
                tcp.set_nodelay(true)?;
                Ok(Box::new(tcp))
            }
        }
    }
}

impl TryFrom<&OsStr> for Endpoint {
    type Error = EndpointError;

    /// Like [`Endpoint::from_str`], for paths of any bytes.
    fn try_from(text: &OsStr) -> Result<Self, EndpointError> {
        match (text.to_str(), text.as_bytes().strip_prefix(b"unix:")) {
            (Some(text), _) => text.parse(),
            (None, Some(path)) => Ok(Endpoint::Unix(OsStr::from_bytes(path).into())),
            (None, None) => Err(EndpointError::Scheme(text.to_string_lossy().into_owned())),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(EndpointError::NoPath(text.to_owned())),
                path => Ok(Endpoint::Unix(PathBuf::from(path))),
            };
        }
        let Some(address) = text.strip_prefix("tcp:") else {
            return Err(EndpointError::Scheme(text.to_owned()));
        };
        let (host, port) = address
            .rsplit_once(':')
            .ok_or_else(|| EndpointError::Port(text.to_owned()))?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(EndpointError::Brackets(text.to_owned()));
        }
        // `u16::from_str` takes a plus sign, an address does not.
        if port.is_empty() || !port.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(EndpointError::Port(text.to_owned()));
        }
        let port = port.parse().map_err(|_| EndpointError::Port(text.to_owned()))?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .ok_or_else(|| EndpointError::Brackets(text.to_owned()))?,
            None => host,
        };
        if host.is_empty() {
            return Err(EndpointError::NoHost(text.to_owned()));
        }
        Ok(Endpoint::Tcp {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => {
                f.write_str("unix:")?;
                for chunk in path.as_os_str().as_bytes().utf8_chunks() {
                    f.write_str(chunk.valid())?;
                    write!(f, "{}", chunk.invalid().escape_ascii())?;
                }
                Ok(())
            }
            Endpoint::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Endpoint::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_parses_and_prints_unchanged() {
        for text in [
            "unix:/run/a b.sock",
            "tcp:agent.example:7000",
            "tcp:127.0.0.1:0",
            "tcp:[::1]:65535",
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
        }
        let ipv6 = Endpoint::Tcp {
            host: "::1".into(),
            port: 80,
        };
        assert_eq!("tcp:[::1]:80".parse(), Ok(ipv6));
    }

    #[test]
    fn unix_path_of_any_bytes_is_parsed_and_printed_escaped() {
        let parse = |text: &'static [u8]| Endpoint::try_from(OsStr::from_bytes(text));
        let odd = parse(b"unix:/run/\xff\xfe.sock").unwrap();
        assert_eq!(
            odd,
            Endpoint::Unix(OsStr::from_bytes(b"/run/\xff\xfe.sock").into())
        );
        assert_eq!(odd.to_string(), r"unix:/run/\xff\xfe.sock");
        assert_eq!(parse(b"unix:/run/a.sock"), "unix:/run/a.sock".parse());
        assert!(matches!(parse(b"tcp:\xff:80"), Err(EndpointError::Scheme(_))));
    }

    #[test]
    fn invalid_endpoint_returns_its_reason() {
        let parse = |text: &str| text.parse::<Endpoint>().unwrap_err();
        assert_eq!(
            parse("/run/agent.sock"),
            EndpointError::Scheme("/run/agent.sock".into())
        );
        assert_eq!(parse(""), EndpointError::Scheme(String::new()));
        assert_eq!(parse("unix:"), EndpointError::NoPath("unix:".into()));
        assert_eq!(parse("tcp::80"), EndpointError::NoHost("tcp::80".into()));
        assert_eq!(parse("tcp:host"), EndpointError::Port("tcp:host".into()));
        assert_eq!(parse("tcp:host:"), EndpointError::Port("tcp:host:".into()));
        assert_eq!(parse("tcp:host:+1"), EndpointError::Port("tcp:host:+1".into()));
        assert_eq!(
            parse("tcp:host:65536"),
            EndpointError::Port("tcp:host:65536".into())
        );
        assert_eq!(parse("tcp:::1:80"), EndpointError::Brackets("tcp:::1:80".into()));
        assert_eq!(
            parse("tcp:[::1:80"),
            EndpointError::Brackets("tcp:[::1:80".into())
        );
    }
}
