//! Loopback ports at which a program's connect stays in progress until the target has answered.
//!
//! A [`BlackholeListener`] is a listening socket that drops every SYN, because it requires a hop limit that no local
//! packet has (ip(7) `IP_MINTTL`, `IPV6_MINHOPCOUNT`). A program's socket that connects to it is in `SYN_SENT`, so
//! poll(2), signals and time-outs work as for any connect in progress. When the target has answered, the relay binds a
//! second socket to the listener's address and connects it to the program's port: a TCP simultaneous open (RFC 9293,
//! 3.5), after which both are established and the second socket carries the data. When the target refused, a shutdown
//! of the duplicate wakes the program. That leaves `ECONNRESET` on its socket. An ordinary user has no better method: a
//! second connect of the duplicate, to a closed port, leaves `ECONNREFUSED`, but the program wakes between the two and
//! may see either, or no error at all. A second shutdown, of the socket that is closed by then, has the effect of the
//! kernel's own refusal: reading returns the end of the stream. The relay closes every other connection that reaches
//! one of these sockets.
//!
//! ```text
//!            begin                    finish
//!  CLOSED ──────────▶ SYN_SENT ──────────────────▶ ESTABLISHED
//!                        │        fail
//!                        └──────────────────────▶ CLOSED, ECONNRESET
//! ```
//!
//! A socket that cannot use a simultaneous open ([`ProgramSocket::needs_listener`]) connects to a blackhole listener of
//! its own, whose hop limit is lifted when the target has answered. The program's next SYN, a second or more later, is
//! accepted.
//!
//! [`DataPorts::open`] tries all this with sockets of its own. On a machine where it fails, the session does not start:
//! a connect that succeeds before the target has answered would be wrong. If it fails only for IPv6, sockets that are
//! IPv6-only fail with `EADDRNOTAVAIL`.

use super::blackhole::{BlackholeListener, accept_from, share_port, tcp_socket};
use super::program::ProgramSocket;
use super::unsuited::Unsuited;
use crate::{log, readiness};
use rustix::net::{AddressFamily, sockopt};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long an own listener waits for the program's next SYN: the kernel doubles its interval, starting at one second.
const NEXT_SYN_TIMEOUT: Duration = Duration::from_secs(70);

/// How long the trial of a simultaneous open may take; it needs no timer of the kernel.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// The session's blackhole listeners, one for each address family.
pub(crate) struct DataPorts {
    v4: BlackholeListener,
    v6: Option<BlackholeListener>,
}

/// A connect in progress on a program's socket.
pub(crate) enum Pending {
    /// In `SYN_SENT` towards a shared listener; the relay's socket for the simultaneous open is ready.
    SimultaneousOpen(RelayEnd),
    /// In `SYN_SENT` towards a listener of its own.
    OwnListener(BlackholeListener),
    /// Established already: the socket's own hop limit is as high as the listener requires.
    Established(TcpStream),
}

impl DataPorts {
    /// Binds the listeners at the session's own address and tries whether this machine supports them.
    pub(crate) async fn open(address: Ipv4Addr) -> Result<Self, Unsuited> {
        let v4 = BlackholeListener::bind(SocketAddr::new(address.into(), 0), 255)
            .map_err(Unsuited::NoBlackhole)?;
        let v6 = BlackholeListener::bind(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0), 255);
        let v6 = v6.inspect_err(|error| log::info!("sockets of IPv6 alone are not carried: {error}"));
        let mut ports = Self { v4, v6: v6.ok() };
        ports.try_out(AddressFamily::INET).await?;
        if ports.v6.is_some()
            && let Err(unsuited) = ports.try_out(AddressFamily::INET6).await
        {
            // few programs have IPv6-only sockets, and all other sockets are served
            log::info!("sockets of IPv6 alone are not carried: {unsuited}");
            ports.v6 = None;
        }
        Ok(ports)
    }

    /// Connects a socket of the relay's own: the connect must stay in progress, then be established by
    /// [`Self::finish`].
    async fn try_out(&self, family: AddressFamily) -> Result<(), Unsuited> {
        let begun = async || {
            let socket = tcp_socket(family)?;
            if family == AddressFamily::INET6 {
                sockopt::set_ipv6_v6only(&socket, true)?;
            }
            let program = ProgramSocket::inspect(socket)?;
            let pending = self.begin(&program)?;
            io::Result::Ok((program, pending))
        };
        let (program, pending) = begun().await.map_err(Unsuited::NoBlackhole)?;
        if matches!(pending, Pending::Established(_)) {
            return Err(Unsuited::accepted_by_blackhole(family));
        }
        let finished = tokio::time::timeout(TRIAL_TIMEOUT, self.finish(pending, &program)).await;
        match finished.map_err(io::Error::from).flatten() {
            Ok(_) => Ok(()),
            Err(error) => Err(Unsuited::NoSimultaneousOpen(error)),
        }
    }

    fn blackhole_for(&self, program: &ProgramSocket) -> io::Result<&BlackholeListener> {
        if program.only_v6 {
            self.v6
                .as_ref()
                .ok_or_else(|| rustix::io::Errno::ADDRNOTAVAIL.into())
        } else {
            Ok(&self.v4)
        }
    }

    /// Puts the program's socket into `SYN_SENT`.
    pub(crate) fn begin(&self, program: &ProgramSocket) -> io::Result<Pending> {
        let shared = self.blackhole_for(program)?;
        if program.needs_listener {
            let own = BlackholeListener::bind(SocketAddr::new(shared.address.ip(), 0), 255)?;
            program.start_connect(own.address_for(program))?;
            return match program.is_connecting()? {
                true => Ok(Pending::OwnListener(own)),
                false => Ok(Pending::Established(own.accept_from(program)?)),
            };
        }
        program.start_connect(shared.address_for(program))?;
        match program.is_connecting()? {
            true => Ok(Pending::SimultaneousOpen(RelayEnd::prepare(shared, program)?)),
            false => Ok(Pending::Established(shared.accept_from(program)?)),
        }
    }

    /// Establishes a pending connect; returns the relay's end.
    pub(crate) async fn finish(&self, pending: Pending, program: &ProgramSocket) -> io::Result<TcpStream> {
        match pending {
            Pending::SimultaneousOpen(relay_end) if program.is_connecting()? => relay_end.connect().await,
            // accepted by the listener because of its own hop limit, or closed by the program
            Pending::SimultaneousOpen(_) => self.blackhole_for(program)?.accept_from(program),
            Pending::OwnListener(own) => {
                own.set_min_hop_limit(0)?;
                let listener = readiness::watch(own.listener)?;
                tokio::time::timeout(NEXT_SYN_TIMEOUT, async {
                    loop {
                        let mut ready = listener.readable().await?;
                        match accept_from(listener.get_ref(), program) {
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                            done => return done,
                        }
                    }
                })
                .await?
            }
            Pending::Established(stream) => Ok(stream),
        }
    }

    /// Whether a connect may be put in progress before the target's answer is known: [`Self::finish`] takes no longer
    /// than [`Self::connect_now`], and a refusal can be undone.
    pub(crate) fn begins_early(&self, program: &ProgramSocket) -> bool {
        !program.needs_listener
    }

    /// Connects a program's unused socket after the target has answered.
    pub(crate) async fn connect_now(&self, program: &ProgramSocket) -> io::Result<TcpStream> {
        if program.needs_listener {
            self.connect_through_listener(program)
        } else {
            self.finish(self.begin(program)?, program).await
        }
    }

    /// Connects at once through a listener that is used for this connect only and closes all other connections.
    fn connect_through_listener(&self, program: &ProgramSocket) -> io::Result<TcpStream> {
        let listener =
            BlackholeListener::bind(SocketAddr::new(self.blackhole_for(program)?.address.ip(), 0), 0)?;
        program.start_connect(listener.address_for(program))?;
        listener.accept_from(program)
    }
}

/// The relay's socket for a simultaneous open, prepared as far as possible before the target's answer.
pub(crate) struct RelayEnd {
    socket: OwnedFd,
    program: SocketAddr,
}

impl RelayEnd {
    /// A socket at the listener's address, for the program whose socket is in `SYN_SENT` towards it.
    fn prepare(blackhole: &BlackholeListener, program: &ProgramSocket) -> io::Result<Self> {
        let program = program.local_address()?;
        let family = if program.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = tcp_socket(family)?;
        share_port(&socket)?;
        rustix::net::bind(&socket, &blackhole.address)?;
        // the sender's own kernel has applied Nagle's algorithm, if at all
        sockopt::set_tcp_nodelay(&socket, true)?;
        // otherwise a connection whose program has closed and whose target never closes would stay for ever
        kinject_tunnel::splice::keep_alive(&socket)?;
        Ok(Self { socket, program })
    }

    /// Connects from the relay's side, which completes the simultaneous open.
    async fn connect(self) -> io::Result<TcpStream> {
        let Self { socket, program } = self;
        let established = match rustix::net::connect(&socket, &program) {
            Ok(()) => true,
            // on loopback the handshake is complete when connect(2) returns; a second call costs less than epoll
            Err(rustix::io::Errno::INPROGRESS) => rustix::net::connect(&socket, &program).is_ok(),
            Err(error) => return Err(error.into()),
        };
        let stream = TcpStream::from_std(std::net::TcpStream::from(socket))?;
        if !established {
            stream.writable().await?;
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
        }
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SocketFlags, SocketType};
    use std::io::{Read, Write};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 107, 3, 4);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    fn program(family: AddressFamily) -> (std::net::TcpStream, ProgramSocket) {
        let socket = tcp_socket(family).unwrap();
        let duplicate = socket.try_clone().unwrap();
        (
            std::net::TcpStream::from(socket),
            ProgramSocket::inspect(duplicate).unwrap(),
        )
    }

    #[test]
    fn connect_stays_in_progress_until_finished_and_then_carries_data() {
        runtime().block_on(async {
            let ports = DataPorts::open(ADDRESS).await.unwrap();
            for family in [AddressFamily::INET, AddressFamily::INET6] {
                let (mut theirs, program) = program(family);
                let pending = ports.begin(&program).unwrap();
                assert!(program.is_connecting().unwrap());
                let mut ours = ports.finish(pending, &program).await.unwrap();
                assert!(!program.is_connecting().unwrap());
                ours.write_all(b"welcome").await.unwrap();
                theirs.set_nonblocking(false).unwrap();
                let mut buffer = [0; 7];
                theirs.read_exact(&mut buffer).unwrap();
                assert_eq!(&buffer, b"welcome");
                theirs.write_all(b"thanks").unwrap();
                let mut buffer = [0; 6];
                ours.read_exact(&mut buffer).await.unwrap();
                assert_eq!(&buffer, b"thanks");
            }
        });
    }

    #[test]
    fn a_v6only_socket_connects_over_v6_loopback() {
        runtime().block_on(async {
            let ports = DataPorts::open(ADDRESS).await.unwrap();
            let socket = tcp_socket(AddressFamily::INET6).unwrap();
            sockopt::set_ipv6_v6only(&socket, true).unwrap();
            let program = ProgramSocket::inspect(socket.try_clone().unwrap()).unwrap();
            assert!(program.only_v6);
            let pending = ports.begin(&program).unwrap();
            ports.finish(pending, &program).await.unwrap();
        });
    }

    #[test]
    fn v6only_socket_without_v6_loopback_fails_with_eaddrnotavail() {
        runtime().block_on(async {
            let mut ports = DataPorts::open(ADDRESS).await.unwrap();
            ports.v6 = None;
            let socket = tcp_socket(AddressFamily::INET6).unwrap();
            sockopt::set_ipv6_v6only(&socket, true).unwrap();
            let program = ProgramSocket::inspect(socket).unwrap();
            let error = ports.begin(&program).err().unwrap();
            assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL));
        });
    }

    #[test]
    fn cancelled_connect_wakes_the_program_with_econnreset() {
        runtime().block_on(async {
            let ports = DataPorts::open(ADDRESS).await.unwrap();
            let (theirs, program) = program(AddressFamily::INET);
            ports.begin(&program).unwrap();
            assert!(program.cancel().unwrap());
            let error = theirs.take_error().unwrap().unwrap();
            assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
        });
    }

    #[test]
    fn connect_replaced_by_another_is_not_cancelled() {
        runtime().block_on(async {
            let ports = DataPorts::open(ADDRESS).await.unwrap();
            let (theirs, program) = program(AddressFamily::INET);
            ports.begin(&program).unwrap();
            rustix::net::connect_unspec(&theirs).unwrap();
            theirs.take_error().unwrap();
            let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            rustix::net::connect(&theirs, &elsewhere.local_addr().unwrap()).ok();
            let (accepted, _) = elsewhere.accept().unwrap();
            assert!(!program.cancel().unwrap());
            assert_eq!(theirs.peer_addr().unwrap(), elsewhere.local_addr().unwrap());
            assert_eq!(accepted.peer_addr().unwrap(), theirs.local_addr().unwrap());
        });
    }

    #[test]
    fn socket_with_hop_limit_255_is_accepted_and_a_stranger_is_closed() {
        runtime().block_on(async {
            let ports = DataPorts::open(ADDRESS).await.unwrap();
            let other_process = tcp_socket(AddressFamily::INET).unwrap();
            sockopt::set_ip_ttl(&other_process, 255).unwrap();
            rustix::net::connect(&other_process, &ports.v4.address).ok();
            let socket = tcp_socket(AddressFamily::INET).unwrap();
            sockopt::set_ip_ttl(&socket, 255).unwrap();
            let program = ProgramSocket::inspect(socket).unwrap();
            let Pending::Established(stream) = ports.begin(&program).unwrap() else {
                panic!("a hop limit of 255 must be accepted");
            };
            assert_eq!(stream.peer_addr().unwrap(), program.local_address().unwrap());
        });
    }

    /// A socket of Multipath TCP; none if the kernel does not support it.
    fn multipath() -> Option<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let made = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            flags,
            Some(rustix::net::ipproto::MPTCP),
        );
        let note = |error: &_| {
            kinject_test_support::skip::not_run(
                "sockets of Multipath TCP",
                &format!("the kernel makes none: {error}"),
            );
        };
        made.inspect_err(note).ok()
    }

    /// Checks that the socket stays in progress until the target has answered and is established by the next SYN, and
    /// that it is connected at once if the target has answered before.
    async fn connects_by_an_ordinary_handshake(make: impl Fn() -> (OwnedFd, ProgramSocket)) {
        let ports = DataPorts::open(ADDRESS).await.unwrap();
        for has_answered in [false, true] {
            let (theirs, program) = make();
            assert!(!ports.begins_early(&program));
            let mut ours = if has_answered {
                ports.connect_now(&program).await.unwrap()
            } else {
                let pending = ports.begin(&program).unwrap();
                assert!(program.is_connecting().unwrap());
                ports.finish(pending, &program).await.unwrap()
            };
            assert_eq!(ours.peer_addr().unwrap(), program.local_address().unwrap());
            ours.write_all(b"welcome").await.unwrap();
            let mut theirs = std::net::TcpStream::from(theirs);
            theirs.set_nonblocking(false).unwrap();
            let mut buffer = [0; 7];
            theirs.read_exact(&mut buffer).unwrap();
            assert_eq!(&buffer, b"welcome");
        }
    }

    #[test]
    fn multipath_tcp_socket_is_connected_by_an_ordinary_handshake() {
        if multipath().is_none() {
            return;
        }
        runtime().block_on(connects_by_an_ordinary_handshake(|| {
            let socket = multipath().unwrap();
            let program = ProgramSocket::inspect(socket.try_clone().unwrap()).unwrap();
            (socket, program)
        }));
    }

    #[test]
    fn socket_shut_down_before_connect_is_connected_by_an_ordinary_handshake() {
        runtime().block_on(connects_by_an_ordinary_handshake(|| {
            let socket = tcp_socket(AddressFamily::INET).unwrap();
            let refused = rustix::net::shutdown(&socket, rustix::net::Shutdown::Write);
            assert_eq!(refused, Err(rustix::io::Errno::NOTCONN));
            let mut program = ProgramSocket::inspect(socket.try_clone().unwrap()).unwrap();
            program.needs_listener = true;
            (socket, program)
        }));
    }
}
