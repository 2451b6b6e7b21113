//! One flow: the datagrams between one socket of a program and one target.
//!
//! ```text
//!            a datagram, or a stream that was opened ahead
//!   resting ───────────────────────────────────────────────▶ carrying
//!      ▲                                                         │
//!      └───── refused, idle, the tunnel lost, the agent gone ────┘
//! ```
//!
//! The flow holds its port on loopback in both states: the program may send there at any time, and nobody else may
//! ever receive what it sends.

use super::program::ProgramDatagrams;
use super::{icmp, names};
use crate::dialer::Dialer;
use crate::log;
use crate::names::resolver::Resolver;
use crate::routes::Routes;
use crate::uplink::ActiveTunnel;
use crate::words;
use kinject_tunnel::http2::DatagramStream;
use kinject_tunnel::{DatagramsEnd, DialError, carry};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, sockopt};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::sync::Notify;

/// How long a stream may be idle, as at the agent.
const PATIENCE: Duration = Duration::from_secs(300);

/// What waits in a socket while the relay is busy, as far as the machine allows.
const BUFFER: usize = 4 * 1024 * 1024;

/// The stream of a flow, and the tunnel that it runs through.
pub(super) struct Stream {
    up: Rc<ActiveTunnel>,
    stream: DatagramStream,
}

/// A flow's end at the relay.
pub(super) struct Flow {
    /// The program's socket.
    pub(super) cookie: u64,
    inode: u64,
    program: Cell<SocketAddr>,
    /// Where the program's datagrams are meant to go.
    pub(super) target: SocketAddr,
    /// Where they go on loopback.
    pub(super) address: SocketAddr,
    socket: UdpSocket,
    /// Whether the program's socket was connected to it.
    connected: Cell<bool>,
    /// When a program was last told of it.
    told: Cell<Instant>,
    /// How often in a row the program's socket was not found.
    misses: Cell<u8>,
    ahead: RefCell<Option<Stream>>,
    handed_over: Notify,
}

impl Flow {
    /// Opens the relay's end at `ip`.
    pub(super) fn open(ip: IpAddr, program: &ProgramDatagrams, target: SocketAddr) -> io::Result<Self> {
        let family = match ip {
            IpAddr::V4(_) => AddressFamily::INET,
            IpAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
        sockopt::set_socket_recv_buffer_size(&socket, BUFFER)?;
        rustix::net::bind(&socket, &SocketAddr::new(ip, 0))?;
        rustix::net::connect(&socket, &program.address)?;
        // what strangers sent before it was connected; the program does not know its port yet
        discard(&socket)?;
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self {
            cookie: program.cookie,
            inode: program.inode,
            program: Cell::new(program.address),
            target,
            address: socket.local_addr()?,
            socket,
            connected: Cell::new(false),
            told: Cell::new(Instant::now()),
            misses: Cell::new(0),
            ahead: RefCell::default(),
            handed_over: Notify::new(),
        })
    }

    /// Follows the program's socket, which got another port by dissolving its association (connect(2), `AF_UNSPEC`).
    pub(super) fn follow(&self, program: &ProgramDatagrams) -> io::Result<()> {
        self.told.set(Instant::now());
        if self.program.replace(program.address) != program.address {
            rustix::net::connect(&self.socket, &program.address)?;
        }
        Ok(())
    }

    /// The program's socket is closed, and its port anybody's: what comes from there from now on is dropped, and so is
    /// what the target still answers. What came before is carried.
    pub(super) fn part(&self) -> io::Result<()> {
        drop_all(&self.socket)?;
        self.connected.set(false);
        // nobody but itself, whose datagrams it drops as well
        Ok(rustix::net::connect(&self.socket, &self.address)?)
    }

    /// The program's socket is connected to this flow, or not any more.
    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.set(connected);
    }

    /// Whether the program's socket is connected to this flow.
    pub(super) fn is_connected(&self) -> bool {
        self.connected.get()
    }

    /// Whether the program's socket is there; `peer` is the port that it is connected to.
    pub(super) fn is_alive(&self, peer: Option<u16>) -> bool {
        /// A table that changes while it is read may miss a line.
        const MISSES: u8 = 2;
        match peer {
            Some(port) => {
                self.misses.set(0);
                if port != self.address.port() {
                    self.connected.set(false);
                }
            }
            None => self.misses.set(self.misses.get() + 1),
        }
        self.misses.get() < MISSES
    }

    /// The inode of the program's socket.
    pub(super) fn inode(&self) -> u64 {
        self.inode
    }

    /// Gives the flow a stream before its first datagram.
    pub(super) fn hand_over(&self, stream: Stream) {
        *self.ahead.borrow_mut() = Some(stream);
        self.handed_over.notify_one();
    }

    /// Carries datagrams until nobody can know the flow's address any more.
    pub(super) async fn run(&self, dialer: &Dialer, routes: &Routes, resolver: &Rc<Resolver>) {
        loop {
            let ahead = tokio::select! {
                biased;
                () = self.handed_over.notified() => self.ahead.borrow_mut().take(),
                waiting = tokio::time::timeout(PATIENCE, self.socket.readable()) => match waiting {
                    Ok(Ok(())) => None,
                    Err(_) if self.is_forgotten() => return,
                    Err(_) => continue,
                    Ok(Err(error)) => return log::warn!("datagrams to {}: {error}", self.target),
                },
            };
            if ahead.is_none() && routes.is_name_server(self.target) {
                names::answer(resolver, &self.socket, PATIENCE).await;
                continue;
            }
            let stream = match ahead {
                Some(stream) => Ok(stream),
                None => request(dialer, self.target).await,
            };
            match stream {
                Ok(Stream { up, stream }) => {
                    if self.carry(dialer, &up, stream).await {
                        return;
                    }
                }
                Err(error) => {
                    self.refused(&error);
                    if let Err(error) = discard(&self.socket) {
                        log::warn!("datagrams to {}: {error}", self.target);
                    }
                }
            }
        }
    }

    /// Carries until the stream ends; says whether the flow has ended with it.
    async fn carry(&self, dialer: &Dialer, up: &Rc<ActiveTunnel>, mut stream: DatagramStream) -> bool {
        let end = carry(&self.socket, &mut stream, PATIENCE).await;
        log::debug!("datagrams to {}: {}", self.target, words::datagrams_end(&end));
        match end {
            DatagramsEnd::Idle => {
                stream.finish();
                return self.is_forgotten();
            }
            DatagramsEnd::Refused(error) => self.refused(&error),
            DatagramsEnd::TunnelLost => dialer.lost(up).await,
            // the program's socket is gone, or somewhere else by now
            DatagramsEnd::SocketFailed(_) | DatagramsEnd::Finished => {}
        }
        false
    }

    fn refused(&self, error: &DialError) {
        log::debug!("datagrams to {}: {error}", self.target);
        if !self.connected.get() || *error == DialError::TunnelLost {
            // as in udp(7): only a connected socket is told
            return;
        }
        if let Err(error) = icmp::send_port_unreachable(&self.socket, self.address, self.program.get()) {
            log::warn!(
                "cannot tell a program that {} refuses datagrams: {error}",
                self.target
            );
        }
    }

    /// Whether no program may send to the flow's address from what it was told earlier.
    fn is_forgotten(&self) -> bool {
        !self.connected.get() && self.told.get().elapsed() >= PATIENCE
    }
}

/// Asks the agent for a stream, as soon as there is an agent.
pub(super) async fn request(dialer: &Dialer, target: SocketAddr) -> Result<Stream, DialError> {
    let requested = dialer.dial(async |up| {
        let stream = up.tunnel.datagrams(target).await?;
        Ok(Stream {
            up: Rc::clone(up),
            stream,
        })
    });
    requested.await
}

impl Stream {
    /// Waits until the agent has its socket, or says why not. Cancel-safe.
    pub(super) async fn opened(&mut self) -> Result<(), DialError> {
        self.stream.opened().await
    }
}

/// Throws away what waits in a socket.
fn discard(socket: impl std::os::fd::AsFd) -> io::Result<()> {
    loop {
        match rustix::net::recv(&socket, &mut [0_u8; 1], RecvFlags::DONTWAIT) {
            Ok(_) | Err(rustix::io::Errno::CONNREFUSED) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Has the kernel drop whatever comes to a socket from now on; what waits in it stays.
fn drop_all(socket: &UdpSocket) -> io::Result<()> {
    let mut drop = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut drop,
    };
    // SAFETY: the option reads a program of one instruction, which outlives the call
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn datagrams_from_the_reused_port_of_a_closed_socket_are_dropped() {
        for (ip, own) in [("127.0.0.1", "127.0.0.1:0"), ("::1", "[::1]:0")] {
            let program = std::net::UdpSocket::bind(own).unwrap();
            let address = program.local_addr().unwrap();
            let inspected = ProgramDatagrams::inspect(program.try_clone().unwrap().into()).unwrap();
            let flow = Flow::open(
                ip.parse().unwrap(),
                &inspected,
                "10.96.10.3:7000".parse().unwrap(),
            )
            .unwrap();
            drop(inspected);
            program.send_to(b"last words", flow.address).unwrap();
            drop(program);
            flow.part().unwrap();
            let stranger = std::net::UdpSocket::bind(address).unwrap();
            stranger.set_nonblocking(true).unwrap();
            stranger.send_to(b"stranger", flow.address).unwrap();
            flow.socket.readable().await.unwrap();
            let mut buffer = [0; 32];
            let length = flow.socket.try_recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"last words");
            flow.socket.send(b"late answer").await.unwrap();
            let more = flow.socket.try_recv(&mut buffer).unwrap_err();
            assert_eq!(more.kind(), io::ErrorKind::WouldBlock);
            let answer = stranger.recv(&mut buffer).unwrap_err();
            assert_eq!(answer.kind(), io::ErrorKind::WouldBlock);
        }
    }
}
