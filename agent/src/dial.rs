//! Makes the connections a relay asks for.

use std::net::SocketAddr;

use kinject_tunnel::DialError;
use tokio::net::TcpStream;

/// Connects to `ADDRESS:PORT` or `[v6]:PORT`. The relay has resolved the name, if there was one. The only deadline is the
/// kernel's own; whoever drops the future gives the attempt up at once.
pub(crate) async fn dial(authority: &str) -> Result<TcpStream, DialError> {
    let address: SocketAddr = authority
        .parse()
        .map_err(|_| DialError::Other(format!("`{authority}` is not an address and port")))?;
    let tcp = TcpStream::connect(address)
        .await
        .map_err(|error| DialError::from(&error))?;
    // The frames come with the delay the program wanted, and not with another one on top.
    tcp.set_nodelay(true).map_err(|error| DialError::from(&error))?;
    Ok(tcp)
}
