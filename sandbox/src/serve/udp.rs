//! The UDP echo: every datagram goes back to where it came from.

use std::io;

use tokio::net::UdpSocket;

/// The largest datagram that UDP over IPv4 carries, rounded up.
const LARGEST: usize = 64 * 1024;

/// Echoes until the task is dropped.
pub(super) async fn echo(socket: UdpSocket) {
    let mut buffer = vec![0; LARGEST];
    loop {
        if let Err(error) = echo_one(&socket, &mut buffer).await {
            // UDP is unreliable: an answer that cannot be sent is a lost datagram.
            eprintln!("kinject-sandbox: lost a datagram: {error}");
        }
    }
}

async fn echo_one(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<()> {
    let (length, peer) = socket.recv_from(buffer).await?;
    socket.send_to(&buffer[..length], peer).await?;
    Ok(())
}
