//! One flow: the datagrams between one socket of a program and one target.
//!
//! ```text
//!            a datagram, or a stream that was opened ahead
//!    idle   ───────────────────────────────────────────────▶ carrying
//!      ▲                                                         │
//!      └─── refused, idle, tunnel lost, closed by the agent ─────┘
//! ```
//!
//! The flow keeps its loopback port bound in both states: the program may send there at any time, and no other process
//! may receive what it sends.

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

/// How long a stream may be idle; the same as at the agent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// Receive buffer of a socket, for datagrams that arrive while the relay is busy; the kernel's limit applies.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// The stream of a flow, and the tunnel that it runs through.
pub(super) struct Stream {
    up: Rc<ActiveTunnel>,
    stream: DatagramStream,
}

/// The relay's end of a flow.
pub(super) struct Flow {
    /// `SO_COOKIE` of the program's socket.
    pub(super) cookie: u64,
    inode: u64,
    program: Cell<SocketAddr>,
    /// The target of the program's datagrams.
    pub(super) target: SocketAddr,
    /// The loopback address to which the program sends them.
    pub(super) address: SocketAddr,
    socket: UdpSocket,
    /// Whether the program's socket was connected to it.
    connected: Cell<bool>,
    /// When its address was last given to a program.
    last_reported: Cell<Instant>,
    /// How many times in a row the program's socket was not found.
    misses: Cell<u8>,
    ahead: RefCell<Option<Stream>>,
    stream_set: Notify,
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
        sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
        rustix::net::bind(&socket, &SocketAddr::new(ip, 0))?;
        rustix::net::connect(&socket, &program.address)?;
        // datagrams of other processes from before the connect; the program does not know the port yet
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
            last_reported: Cell::new(Instant::now()),
            misses: Cell::new(0),
            ahead: RefCell::default(),
            stream_set: Notify::new(),
        })
    }

    /// Connects the flow to the current address of the program's socket, whose port changes when it disconnects
    /// (connect(2), `AF_UNSPEC`).
    pub(super) fn update_program(&self, program: &ProgramDatagrams) -> io::Result<()> {
        self.last_reported.set(Instant::now());
        if self.program.replace(program.address) != program.address {
            rustix::net::connect(&self.socket, &program.address)?;
        }
        Ok(())
    }

    /// Detaches the flow from the program's socket, which is closed, so that its port may be reused: datagrams from
    /// that port and answers of the target are dropped from now on. Datagrams that are queued are still carried.
    pub(super) fn detach(&self) -> io::Result<()> {
        drop_all(&self.socket)?;
        self.connected.set(false);
        // connected to itself, whose datagrams it drops as well
        Ok(rustix::net::connect(&self.socket, &self.address)?)
    }

    /// Sets whether the program's socket is connected to this flow.
    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.set(connected);
    }

    /// Whether the program's socket is connected to this flow.
    pub(super) fn is_connected(&self) -> bool {
        self.connected.get()
    }

    /// Whether the program's socket still exists; `peer` is the port to which it is connected, if it was found.
    pub(super) fn has_open_socket(&self, peer: Option<u16>) -> bool {
        /// A table that changes while it is read may lack a line.
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

    /// Gives the flow a stream that was opened before its first datagram.
    pub(super) fn set_stream(&self, stream: Stream) {
        *self.ahead.borrow_mut() = Some(stream);
        self.stream_set.notify_one();
    }

    /// Carries datagrams until no program can have the flow's address any more.
    pub(super) async fn run(&self, dialer: &Dialer, routes: &Routes, resolver: &Rc<Resolver>) {
        loop {
            let ahead = tokio::select! {
                biased;
                () = self.stream_set.notified() => self.ahead.borrow_mut().take(),
                waiting = tokio::time::timeout(IDLE_TIMEOUT, self.socket.readable()) => match waiting {
                    Ok(Ok(())) => None,
                    Err(_) if self.is_forgotten() => return,
                    Err(_) => continue,
                    Ok(Err(error)) => return log::warn!("datagrams to {}: {error}", self.target),
                },
            };
            if ahead.is_none() && routes.is_name_server(self.target) {
                names::answer(resolver, &self.socket, IDLE_TIMEOUT).await;
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
                    self.report_refusal(&error);
                    if let Err(error) = discard(&self.socket) {
                        log::warn!("datagrams to {}: {error}", self.target);
                    }
                }
            }
        }
    }

    /// Carries datagrams until the stream ends; returns whether the flow has ended with it.
    async fn carry(&self, dialer: &Dialer, up: &Rc<ActiveTunnel>, mut stream: DatagramStream) -> bool {
        let end = carry(&self.socket, &mut stream, IDLE_TIMEOUT).await;
        log::debug!("datagrams to {}: {}", self.target, words::datagrams_end(&end));
        match end {
            DatagramsEnd::Idle => {
                stream.finish();
                return self.is_forgotten();
            }
            DatagramsEnd::Refused(error) => self.report_refusal(&error),
            DatagramsEnd::TunnelLost => dialer.lost(up).await,
            // the program's socket is closed, or connected elsewhere
            DatagramsEnd::SocketFailed(_) | DatagramsEnd::Finished => {}
        }
        false
    }

    fn report_refusal(&self, error: &DialError) {
        log::debug!("datagrams to {}: {error}", self.target);
        if !self.connected.get() || *error == DialError::TunnelLost {
            // as in udp(7): only a connected socket gets the error
            return;
        }
        if let Err(error) = icmp::send_port_unreachable(&self.socket, self.address, self.program.get()) {
            log::warn!(
                "cannot report to a program that {} refuses datagrams: {error}",
                self.target
            );
        }
    }

    /// Whether no program can have the flow's address any more.
    fn is_forgotten(&self) -> bool {
        !self.connected.get() && self.last_reported.get().elapsed() >= IDLE_TIMEOUT
    }
}

/// Requests a stream from the agent, as soon as there is a tunnel.
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
    /// Waits until the agent has opened its socket, or returns why it could not. Cancel-safe.
    pub(super) async fn opened(&mut self) -> Result<(), DialError> {
        self.stream.opened().await
    }
}

/// Discards the datagrams that are queued in a socket.
fn discard(socket: impl std::os::fd::AsFd) -> io::Result<()> {
    loop {
        match rustix::net::recv(&socket, &mut [0_u8; 1], RecvFlags::DONTWAIT) {
            Ok(_) | Err(rustix::io::Errno::CONNREFUSED) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Has the kernel drop all datagrams that arrive at a socket from now on; queued ones stay.
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
            flow.detach().unwrap();
            let other_process = std::net::UdpSocket::bind(address).unwrap();
            other_process.set_nonblocking(true).unwrap();
            other_process.send_to(b"stranger", flow.address).unwrap();
            flow.socket.readable().await.unwrap();
            let mut buffer = [0; 32];
            let length = flow.socket.try_recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"last words");
            flow.socket.send(b"late answer").await.unwrap();
            let more = flow.socket.try_recv(&mut buffer).unwrap_err();
            assert_eq!(more.kind(), io::ErrorKind::WouldBlock);
            let answer = other_process.recv(&mut buffer).unwrap_err();
            assert_eq!(answer.kind(), io::ErrorKind::WouldBlock);
        }
    }
}
