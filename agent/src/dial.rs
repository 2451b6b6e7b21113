//! Makes the connections a relay asks for.

use std::net::{IpAddr, SocketAddr};

use kinject_tunnel::DialError;
use tokio::net::TcpStream;

use crate::dns::{LookupError, Resolver};

/// Connects to `ADDRESS:PORT`, `[v6]:PORT` or `NAME:PORT`. The only deadline is the kernel's own; whoever drops the
/// future gives the attempt up at once. A name is resolved as the pod does, and its addresses are tried in turn.
pub(crate) async fn dial(authority: &str, resolver: &Resolver) -> Result<TcpStream, DialError> {
    if let Ok(address) = authority.parse() {
        return connect(address).await;
    }
    let (host, port) =
        split(authority).ok_or_else(|| DialError::Other(format!("`{authority}` is not a host and port")))?;
    let addresses = resolver.lookup(host).await.map_err(|error| match error {
        LookupError::NotFound => DialError::NameNotFound,
        LookupError::Failed => DialError::NameFailed,
    })?;
    let mut last = DialError::NameNotFound;
    for address in addresses {
        match connect(SocketAddr::new(address, port)).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect(address: SocketAddr) -> Result<TcpStream, DialError> {
    let tcp = TcpStream::connect(address)
        .await
        .map_err(|error| DialError::from(&error))?;
    // The frames come with the delay the program wanted, and not with another one on top.
    tcp.set_nodelay(true).map_err(|error| DialError::from(&error))?;
    Ok(tcp)
}

fn split(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = authority.rsplit_once(':')?;
    if host.is_empty() || host.contains(['[', ']', '@', ':']) || host.parse::<IpAddr>().is_ok() {
        return None;
    }
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_port_are_told_from_everything_else() {
        assert_eq!(split("web.default:80"), Some(("web.default", 80)));
        for wrong in [
            "web",
            ":80",
            "web:",
            "web:65536",
            "[::1]:x",
            "user@web:80",
            "::1:80",
        ] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }
}
