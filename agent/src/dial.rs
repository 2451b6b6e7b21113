//! Makes the connections that a relay requests.

use std::net::SocketAddr;

use kinject_tunnel::DialError;
use tokio::net::TcpStream;

/// Connects to `ADDRESS:PORT` or `[v6]:PORT`: the relay resolves names. The only deadline is the kernel's own; dropping
/// the future cancels the attempt at once.
pub(crate) async fn dial(authority: &str) -> Result<TcpStream, DialError> {
    let address: SocketAddr = authority
        .parse()
        .map_err(|_| DialError::Other(format!("`{authority}` is not an address and port")))?;
    let tcp = TcpStream::connect(address)
        .await
        .map_err(|error| DialError::from(&error))?;
    // The program's own kernel has applied Nagle's algorithm if the program wants it.
    tcp.set_nodelay(true).map_err(|error| DialError::from(&error))?;
    Ok(tcp)
}
