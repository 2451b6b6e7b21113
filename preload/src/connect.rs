//! connect(2).
//!
//! The program keeps its own socket: the relay gets a duplicate for the duration of the connect, and connects that. The
//! kernel's state of the socket is the one that it would have on the way to a real peer, so poll(2), a second connect,
//! signals and timeouts are answered by the kernel.
//!
//! The relay answers within some milliseconds: with the result if the target answered in that time, otherwise it
//! leaves the socket in `SYN_SENT`. A blocking program then sleeps in the kernel's connect(2), and a non-blocking one
//! gets `EINPROGRESS`. On a refusal the relay resets the socket, which wakes both; the hooks then ask the relay for
//! the errno.
//!
//! We deviate from the man page where the session cannot carry what the program asks for: `ENETUNREACH`, never a
//! connection to the local network.

use crate::address::{Destination, RawAddress};
use crate::datagram::{self, Route};
use crate::errno::Errno;
use crate::paths::unix_address;
use crate::real;
use crate::remembered_failure::{take_failure, unreported_failure};
use crate::session::Session;
use crate::socket::{self, KernelSocket, Kind, SocketFacts};
use crate::tcp_connect::{self, Native, Outcome};
use core::net::SocketAddr;
use libc::{c_int, sockaddr, socklen_t};

hook! {
    unsafe fn connect(socket: c_int, address: *const sockaddr, length: socklen_t) -> c_int => hooked {
        connect_in_session(socket, address, length)
    }
}

hook! {
    unsafe fn __connect(socket: c_int, address: *const sockaddr, length: socklen_t) -> c_int => hooked_alias {
        alias_in_session(socket, address, length)
    }
}

/// connect(2) as the session has it.
pub(crate) extern "C" fn connect_in_session(
    socket: c_int,
    address: *const sockaddr,
    length: socklen_t,
) -> c_int {
    connect_by(real::connect.get(), socket, address, length)
}

extern "C" fn alias_in_session(socket: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    connect_by(real::__connect.get(), socket, address, length)
}

#[inline]
fn connect_by(native: Option<Native>, socket: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    let Some(native) = native else {
        return Errno(libc::ENOSYS).fail();
    };
    // SAFETY: these are the program's own arguments, which the kernel checks
    let pass_on = || unsafe { native(socket, address, length) };
    let destination = Destination::read(address, length);
    if destination == Destination::Native {
        return match unix_address(address, length, false) {
            Ok(None) => pass_on(),
            // SAFETY: the address is ours and lives until the call is over
            Ok(Some(other)) => unsafe {
                native(
                    socket,
                    (&raw const other).cast(),
                    size_of_val(&other) as socklen_t,
                )
            },
            Err(error) => error.fail(),
        };
    }
    let Some(session) = Session::current() else {
        return pass_on();
    };
    let outcome = match decide(destination, &KernelSocket::new(&session, socket)) {
        Decision::Native => Outcome::Native,
        Decision::Disconnect => {
            disconnect(&session, socket);
            Outcome::Native
        }
        Decision::ReportFailure => match unreported_failure(&session, socket) {
            Some(failure) => Outcome::Failed(failure),
            None => Outcome::Native,
        },
        Decision::ConnectTcp(target) => tcp_connect::connect(&session, native, socket, target),
        Decision::ConnectUdp(target) => match datagram::connect(&session, socket, target) {
            Route::Flow(_) => Outcome::Connected,
            Route::Failed(error) => Outcome::Failed(error),
            Route::StandIn(address) => Outcome::Redirected(address),
            Route::Native | Route::Tcp => Outcome::Native,
        },
        Decision::Fail(error) => Outcome::Failed(error),
    };
    match outcome {
        Outcome::Native => pass_on(),
        Outcome::Redirected(address) => {
            let family = socket::internet_family(socket).unwrap_or(libc::AF_UNSPEC);
            let redirected = RawAddress::new(address, family);
            let (address, length) = redirected.as_raw();
            // SAFETY: the address is ours and lives until the call is over
            unsafe { native(socket, address, length) }
        }
        Outcome::Connected => 0,
        Outcome::Failed(error) => error.fail(),
    }
}

/// What connect(2) does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// The kernel connects the socket, without us.
    Native,
    /// The kernel dissolves the socket's association, after the library and the relay have forgotten it.
    Disconnect,
    /// The kernel connects the socket to this machine, unless the failure of an earlier connect is to be reported
    /// first.
    ReportFailure,
    ConnectTcp(SocketAddr),
    ConnectUdp(SocketAddr),
    Fail(Errno),
}

/// Decides what connect(2) of a program in a session does.
#[inline]
fn decide(destination: Destination, socket: &impl SocketFacts) -> Decision {
    let target = match destination {
        Destination::Native => return Decision::Native,
        Destination::Unspecified(_) => return Decision::Disconnect,
        Destination::Loopback => return Decision::ReportFailure,
        Destination::Remote(target) => target,
    };
    match socket.kind() {
        Kind::Foreign => Decision::Native,
        Kind::Uncarried if socket.is_in_other_network() => Decision::Native,
        Kind::Uncarried => Decision::Fail(datagram::UNCARRIED),
        Kind::Udp => Decision::ConnectUdp(target),
        Kind::Tcp => {
            let is_v6_only = || socket.is_v6_only();
            match socket::is_family_mismatch(socket.internet_family(), target.ip(), is_v6_only) {
                true => Decision::Native,
                false => Decision::ConnectTcp(target),
            }
        }
    }
}

/// Forgets what the library or the relay remembers of a socket whose association is about to be dissolved.
fn disconnect(session: &Session, socket: c_int) {
    match memory_to_clear(&KernelSocket::new(session, socket)) {
        Memory::Routes => datagram::forget(socket),
        Memory::Connect => {
            // the program gives the socket's connect up, so nobody reports its failure
            let _failure = take_failure(session, socket);
        }
        Memory::Nothing => {}
    }
}

/// What is remembered of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// The library remembers the routes of its datagrams.
    Routes,
    /// The relay remembers its connect.
    Connect,
    Nothing,
}

/// Decides what has to be forgotten of a socket whose association is about to be dissolved.
fn memory_to_clear(socket: &impl SocketFacts) -> Memory {
    match socket.kind() {
        Kind::Udp | Kind::Uncarried | Kind::Foreign => Memory::Routes,
        // a new TCP socket never went through the relay
        Kind::Tcp if socket.is_closed() && !socket.has_error_or_hang_up() => Memory::Nothing,
        Kind::Tcp => Memory::Connect,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::FakeSocket;

    fn remote(text: &str) -> Destination {
        Destination::Remote(text.parse().unwrap())
    }

    #[test]
    fn address_that_is_not_remote_is_decided_without_asking_about_the_socket() {
        let unspecified = "0.0.0.0:0".parse().unwrap();
        for (destination, expected) in [
            (Destination::Native, Decision::Native),
            (Destination::Loopback, Decision::ReportFailure),
            (Destination::Unspecified(unspecified), Decision::Disconnect),
        ] {
            let socket = FakeSocket::new(Kind::Tcp);
            assert_eq!(decide(destination, &socket), expected, "{destination:?}");
            assert!(socket.asked().is_empty(), "{:?}", socket.asked());
        }
    }

    #[test]
    fn remote_address_is_connected_by_protocol_of_the_socket() {
        let target = "10.96.10.3:80".parse().unwrap();
        for (kind, expected) in [
            (Kind::Tcp, Decision::ConnectTcp(target)),
            (Kind::Udp, Decision::ConnectUdp(target)),
            (Kind::Foreign, Decision::Native),
            (Kind::Uncarried, Decision::Fail(Errno(libc::ENETUNREACH))),
        ] {
            let socket = FakeSocket::new(kind);
            assert_eq!(decide(Destination::Remote(target), &socket), expected);
        }
    }

    #[test]
    fn uncarried_protocol_in_other_network_namespace_is_native() {
        let mut socket = FakeSocket::new(Kind::Uncarried);
        socket.is_in_other_network = true;
        assert_eq!(decide(remote("10.96.10.3:80"), &socket), Decision::Native);
    }

    #[test]
    fn tcp_connect_of_other_family_is_native() {
        let mut socket = FakeSocket::new(Kind::Tcp);
        assert_eq!(decide(remote("[fd00::3]:80"), &socket), Decision::Native);
        socket.family = Some(libc::AF_INET6);
        assert_eq!(decide(remote("10.96.10.3:80"), &socket), Decision::Native);
        let mapped = "[::ffff:10.96.10.3]:80".parse().unwrap();
        assert_eq!(
            decide(Destination::Remote(mapped), &socket),
            Decision::ConnectTcp(mapped)
        );
        socket.is_v6_only = true;
        assert_eq!(decide(Destination::Remote(mapped), &socket), Decision::Native);
    }

    #[test]
    fn disconnect_clears_routes_of_datagram_sockets_and_connects_of_used_tcp_sockets() {
        for (kind, is_closed, has_error_or_hang_up, expected) in [
            (Kind::Udp, true, false, Memory::Routes),
            (Kind::Foreign, true, false, Memory::Routes),
            (Kind::Uncarried, true, false, Memory::Routes),
            (Kind::Tcp, true, false, Memory::Nothing),
            (Kind::Tcp, true, true, Memory::Connect),
            (Kind::Tcp, false, false, Memory::Connect),
        ] {
            let mut socket = FakeSocket::new(kind);
            socket.is_closed = is_closed;
            socket.has_error_or_hang_up = has_error_or_hang_up;
            assert_eq!(
                memory_to_clear(&socket),
                expected,
                "{kind:?} {is_closed} {has_error_or_hang_up}"
            );
        }
    }
}
