//! Loopback ports at which a program's connect stays in progress until the far end has answered.
//!
//! A [`BlackHole`] is a listening socket that drops every SYN, because it demands a hop limit that no local packet
//! carries (ip(7) `IP_MINTTL`, `IPV6_MINHOPCOUNT`). A program's socket that connects to it is in `SYN_SENT`, with
//! all that this means to poll(2), signals and time-outs. When the far end has answered, the relay binds a second
//! socket to the hole's address and connects it to the program's port: a TCP simultaneous open (RFC 9293, 3.5), after
//! which both are established and the second socket carries the data. When the far end refused, a shutdown of the
//! duplicate wakes the program. That leaves `ECONNRESET` on its socket, and there is no better way that an ordinary user may
//! go: a second connect of the duplicate, to a closed port, leaves `ECONNREFUSED`, but the program wakes between the two and
//! may see either, or no error at all. A second shutdown of a socket that is closed by then does what the kernel does for a
//! refusal: nothing comes from it any more. No socket of the relay ever accepts a stranger.
//!
//! ```text
//!            begin                    finish
//!  CLOSED ──────────▶ SYN_SENT ──────────────────▶ ESTABLISHED
//!                        │        fail
//!                        └──────────────────────▶ CLOSED, ECONNRESET
//! ```
//!
//! A socket for which a simultaneous open is not ([`ProgramSocket::needs_lift`]) connects to a hole of its own, which begins to
//! listen when the far end has answered: the program's next SYN, up to a second and more away, reaches it.
//!
//! [`DataPorts::open`] tries all this with sockets of its own. On a machine that does not do it there is no session: a connect
//! that is said to be done before the far end has answered would tell programs what is not true. Where IPv6 alone does not do it,
//! sockets of IPv6 alone fail with `EADDRNOTAVAIL`.

use super::blackhole::{BlackHole, accept_from, share_port, tcp_socket};
use super::program::ProgramSocket;
use super::unsuited::Unsuited;
use crate::{log, readiness};
use rustix::net::{AddressFamily, sockopt};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a lifted hole waits for the program's next SYN: the kernel doubles its pause from one second on.
const LIFT_PATIENCE: Duration = Duration::from_secs(70);

/// How long a simultaneous open may take when it is tried: it needs no timer, so a moment is enough.
const TRIAL_PATIENCE: Duration = Duration::from_secs(3);

/// The session's holes, one for each address family.
pub(crate) struct DataPorts {
    v4: BlackHole,
    v6: Option<BlackHole>,
}

/// A connect that is under way on a program's socket.
pub(crate) enum Pending {
    /// In `SYN_SENT` towards a shared hole, with the other end in hand.
    BlackHole(OtherEnd),
    /// In `SYN_SENT` towards a hole of its own.
    OwnHole(BlackHole),
    /// Established already: the socket's own hop limit reaches through the hole.
    Established(TcpStream),
}

impl DataPorts {
    /// Opens the holes at an address that is the session's own and tries what this machine can do.
    pub(crate) async fn open(address: Ipv4Addr) -> Result<Self, Unsuited> {
        let v4 = BlackHole::open(SocketAddr::new(address.into(), 0), 255).map_err(Unsuited::NoHole)?;
        let v6 = BlackHole::open(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0), 255);
        let v6 = v6.inspect_err(|error| log::info!("sockets of IPv6 alone are not carried: {error}"));
        let mut ports = Self { v4, v6: v6.ok() };
        ports.try_out(AddressFamily::INET).await?;
        if ports.v6.is_some()
            && let Err(unsuited) = ports.try_out(AddressFamily::INET6).await
        {
            // few programs have such sockets, and all others are served
            log::info!("sockets of IPv6 alone are not carried: {unsuited}");
            ports.v6 = None;
        }
        Ok(ports)
    }

    /// Connects a socket of the relay's own through a hole: it must stay in progress, then be established.
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
        let (program, pending) = begun().await.map_err(Unsuited::NoHole)?;
        if matches!(pending, Pending::Established(_)) {
            return Err(Unsuited::hole_let_through(family));
        }
        let finished = tokio::time::timeout(TRIAL_PATIENCE, self.finish(pending, &program)).await;
        match finished.map_err(io::Error::from).flatten() {
            Ok(_) => Ok(()),
            Err(error) => Err(Unsuited::NoSimultaneousOpen(error)),
        }
    }

    fn hole_for(&self, program: &ProgramSocket) -> io::Result<&BlackHole> {
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
        let shared = self.hole_for(program)?;
        if program.needs_lift {
            let own = BlackHole::open(SocketAddr::new(shared.address.ip(), 0), 255)?;
            program.start_connect(own.address_for(program))?;
            return match program.is_connecting()? {
                true => Ok(Pending::OwnHole(own)),
                false => Ok(Pending::Established(own.accept_from(program)?)),
            };
        }
        program.start_connect(shared.address_for(program))?;
        match program.is_connecting()? {
            true => Ok(Pending::BlackHole(OtherEnd::make(shared, program)?)),
            false => Ok(Pending::Established(shared.accept_from(program)?)),
        }
    }

    /// Establishes a pending connect; the returned socket is the relay's end.
    pub(crate) async fn finish(&self, pending: Pending, program: &ProgramSocket) -> io::Result<TcpStream> {
        match pending {
            Pending::BlackHole(other_end) if program.is_connecting()? => other_end.open().await,
            // through the hole by its own hop limit, or given up
            Pending::BlackHole(_) => self.hole_for(program)?.accept_from(program),
            Pending::OwnHole(hole) => {
                hole.demand_hops(0)?;
                let listener = readiness::watch(hole.listener)?;
                tokio::time::timeout(LIFT_PATIENCE, async {
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

    /// Whether a connect may be put in progress before it has to be, because [`Self::finish`] takes no longer than
    /// [`Self::connect_now`] and a refusal leaves no trace.
    pub(crate) fn begins_early(&self, program: &ProgramSocket) -> bool {
        !program.needs_lift
    }

    /// Connects a program's socket whose far end has answered already, and which nothing was done to yet.
    pub(crate) async fn connect_now(&self, program: &ProgramSocket) -> io::Result<TcpStream> {
        if program.needs_lift {
            self.connect_through_listener(program)
        } else {
            self.finish(self.begin(program)?, program).await
        }
    }

    /// Connects at once through a listener that lives for this one connect and takes nobody else.
    fn connect_through_listener(&self, program: &ProgramSocket) -> io::Result<TcpStream> {
        let hole = BlackHole::open(SocketAddr::new(self.hole_for(program)?.address.ip(), 0), 0)?;
        program.start_connect(hole.address_for(program))?;
        hole.accept_from(program)
    }
}

/// The relay's end of a connect that is under way: all that can be done before the far end has answered is done.
pub(crate) struct OtherEnd {
    socket: OwnedFd,
    program: SocketAddr,
}

impl OtherEnd {
    /// A socket at the hole's address, for the program whose socket is in `SYN_SENT` towards it.
    fn make(hole: &BlackHole, program: &ProgramSocket) -> io::Result<Self> {
        let program = program.local_address()?;
        let family = if program.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = tcp_socket(family)?;
        share_port(&socket)?;
        rustix::net::bind(&socket, &hole.address)?;
        // what comes through the tunnel was gathered by its sender, if at all
        sockopt::set_tcp_nodelay(&socket, true)?;
        // a program that closed and whose far end never does would be remembered for ever
        kinject_tunnel::splice::keep_alive(&socket)?;
        Ok(Self { socket, program })
    }

    /// Opens the connection from this side, too.
    async fn open(self) -> io::Result<TcpStream> {
        let Self { socket, program } = self;
        let established = match rustix::net::connect(&socket, &program) {
            Ok(()) => true,
            // the handshake is over when the call that began it returns; asking again costs less than epoll
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
            let stranger = tcp_socket(AddressFamily::INET).unwrap();
            sockopt::set_ip_ttl(&stranger, 255).unwrap();
            rustix::net::connect(&stranger, &ports.v4.address).ok();
            let socket = tcp_socket(AddressFamily::INET).unwrap();
            sockopt::set_ip_ttl(&socket, 255).unwrap();
            let program = ProgramSocket::inspect(socket).unwrap();
            let Pending::Established(stream) = ports.begin(&program).unwrap() else {
                panic!("a hop limit of 255 must reach through the hole");
            };
            assert_eq!(stream.peer_addr().unwrap(), program.local_address().unwrap());
        });
    }

    /// A socket of Multipath TCP; none where the kernel has no such thing.
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

    /// In progress until the far end has answered, then established at the next attempt; at once where it has.
    async fn is_connected_by_a_lifted_hole(make: impl Fn() -> (OwnedFd, ProgramSocket)) {
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
        runtime().block_on(is_connected_by_a_lifted_hole(|| {
            let socket = multipath().unwrap();
            let program = ProgramSocket::inspect(socket.try_clone().unwrap()).unwrap();
            (socket, program)
        }));
    }

    #[test]
    fn socket_shut_down_before_connect_is_connected_by_an_ordinary_handshake() {
        runtime().block_on(is_connected_by_a_lifted_hole(|| {
            let socket = tcp_socket(AddressFamily::INET).unwrap();
            let refused = rustix::net::shutdown(&socket, rustix::net::Shutdown::Write);
            assert_eq!(refused, Err(rustix::io::Errno::NOTCONN));
            let mut program = ProgramSocket::inspect(socket.try_clone().unwrap()).unwrap();
            program.needs_lift = true;
            (socket, program)
        }));
    }
}
