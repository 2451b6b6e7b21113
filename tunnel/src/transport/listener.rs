//! The agent's side of a direct transport.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::{Endpoint, Stream};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// A listening endpoint. Dropping it removes a Unix socket's file.
#[derive(Debug)]
pub enum Listener {
    /// On a Unix socket that only its owner may connect to.
    Unix(UnixListener, SocketFile),
    /// On a TCP address.
    Tcp(TcpListener),
}

/// The peer of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A process on this machine, identified by its user.
    Local {
        /// The user's number.
        uid: u32,
    },
    /// This address.
    Remote(SocketAddr),
}

impl Listener {
    /// Listens on the endpoint; the host of a TCP endpoint has to be an IP address here.
    ///
    /// A Unix socket's file is created with mode 0600. A file on which no process listens any more is replaced; a live
    /// socket, or a file of another kind, is kept and the call fails.
    pub fn bind(endpoint: &Endpoint) -> io::Result<Listener> {
        match endpoint {
            Endpoint::Unix(path) => {
                let (listener, file) = bind_unix(path)?;
                Ok(Listener::Unix(listener, file))
            }
            Endpoint::Tcp { host, port } => {
                let ip: IpAddr = host.parse().map_err(|_| {
                    let what = format!("`{host}` is not an IP address to listen on");
                    io::Error::new(io::ErrorKind::InvalidInput, what)
                })?;
                Ok(Listener::Tcp(bind_tcp(SocketAddr::new(ip, *port))?))
            }
        }
    }

    /// Waits for the next connection. Cancel-safe.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Ok((Box::new(stream), Peer::Local { uid }))
            }
            Listener::Tcp(listener) => loop {
                let (stream, peer) = match listener.accept().await {
                    Ok(accepted) => accepted,
                    // The peer closed it before it was accepted.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                    Err(error) => return Err(error),
                };
                if stream.set_nodelay(true).is_ok() {
                    return Ok((Box::new(stream), Peer::Remote(peer)));
                }
            },
        }
    }

    /// The bound endpoint: a TCP port of 0 is replaced by the port that the kernel chose.
    pub fn endpoint(&self) -> io::Result<Endpoint> {
        match self {
            Listener::Unix(_, file) => Ok(Endpoint::Unix(file.path.clone())),
            Listener::Tcp(listener) => {
                let address = listener.local_addr()?;
                Ok(Endpoint::Tcp {
                    host: address.ip().to_string(),
                    port: address.port(),
                })
            }
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Local { uid } => write!(f, "a process of user {uid}"),
            Peer::Remote(address) => address.fmt(f),
        }
    }
}

/// The file of a Unix socket, removed on drop if it is still the one that was created.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| found.dev() == self.device && found.ino() == self.inode);
        if ours {
            // It may be removed between the two calls, which is fine.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let address = SockAddr::unix(path)?;
    remove_if_stale(path, &address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The mode of an unbound socket becomes the mode of its file, so the file is never accessible to others, not even
    // between bind and a chmod.
    let file = File::from(OwnedFd::from(socket));
    file.set_permissions(Permissions::from_mode(0o600))?;
    let socket = Socket::from(OwnedFd::from(file));
    socket.bind(&address)?;
    let made = fs::symlink_metadata(path)?;
    let guard = SocketFile {
        path: path.to_owned(),
        device: made.dev(),
        inode: made.ino(),
    };
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((UnixListener::from_std(socket.into())?, guard))
}

fn remove_if_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let what = format!("{} exists and is not a socket", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A live socket with a full backlog would block a blocking probe.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => {
            let what = format!("another process listens on {}", path.display());
            Err(io::Error::new(io::ErrorKind::AddrInUse, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn echo_once(listener: Listener) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut byte = [0; 4];
        stream.read_exact(&mut byte).await.unwrap();
        stream.write_all(&byte).await.unwrap();
    }

    #[tokio::test]
    async fn unix_and_tcp_endpoints_carry_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let unix = Endpoint::Unix(folder.path().join("agent.sock"));
        let tcp = "tcp:127.0.0.1:0".parse().unwrap();
        for endpoint in [unix, tcp] {
            let listener = Listener::bind(&endpoint).unwrap();
            let endpoint = listener.endpoint().unwrap();
            let server = tokio::spawn(echo_once(listener));
            let mut stream = endpoint.connect().await.unwrap();
            assert!(
                stream.is_write_vectored(),
                "the box does not pass on vectored writes"
            );
            stream.write_all(b"ping").await.unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"ping");
            server.await.unwrap();
        }
    }

    #[tokio::test]
    async fn unix_socket_has_mode_0600_and_is_removed_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let listener = Listener::bind(&Endpoint::Unix(path.clone())).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn stale_socket_file_is_replaced_and_a_live_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file behind");
        let endpoint = Endpoint::Unix(path.clone());
        let _live = Listener::bind(&endpoint).unwrap();
        let error = Listener::bind(&endpoint).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn file_that_is_not_a_socket_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        fs::write(&path, "keep").unwrap();
        let error = Listener::bind(&Endpoint::Unix(path.clone())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "keep");
    }

    #[tokio::test]
    async fn dropped_listener_keeps_the_socket_file_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let listener = Listener::bind(&Endpoint::Unix(path.clone())).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());
    }
}
