//! connect(2).
//!
//! The program's own socket stays the program's: the relay gets a duplicate for the length of the connect, and the
//! kernel's state of the socket is at every moment what it would be on the way to a real peer. So poll(2), a second
//! connect, signals and timeouts are answered by the kernel, without us.
//!
//! The relay answers within some milliseconds: with the result if the far end was quick, otherwise by leaving the
//! socket in `SYN_SENT`. Then a blocking program sleeps in the kernel's connect(2), and a non-blocking one gets its
//! `EINPROGRESS`. A refusal wakes both by a reset; what it really was is asked for afterwards.
//!
//! We deviate from the man page where the session cannot carry what the program asks for: `ENETUNREACH`, never a
//! connection to the local network.

use crate::address::{Destination, RawAddress};
use crate::control;
use crate::datagram::{self, Route};
use crate::errno::Errno;
use crate::real;
use crate::remembered_failure::{forgotten_failure, unreported_failure};
use crate::session::Session;
use crate::socket::{self, Kind};
use crate::tcp_connect::{self, Native, Outcome};
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
    let target = match Destination::read(address, length) {
        Destination::Remote(target) => target,
        Destination::Unspecified(_) => {
            disconnecting(socket);
            return pass_on();
        }
        Destination::Here => {
            return match unreported_failure(socket) {
                Some(failure) => failure.fail(),
                None => pass_on(),
            };
        }
        Destination::Native => return pass_on(),
    };
    let Some(session) = Session::current() else {
        return pass_on();
    };
    let outcome = match Kind::of(socket) {
        Kind::Foreign => Outcome::Native,
        Kind::Uncarried if control::is_elsewhere(&session, socket) => Outcome::Native,
        Kind::Uncarried => Outcome::Failed(datagram::UNCARRIED),
        Kind::Udp => match datagram::connect(&session, socket, target) {
            Route::Flow(_) => Outcome::Connected,
            Route::Failed(error) => Outcome::Failed(error),
            Route::StandIn(address) => Outcome::Redirected(address),
            Route::Native | Route::Tcp => Outcome::Native,
        },
        Kind::Tcp if socket::is_of_other_family(socket, target) => Outcome::Native,
        Kind::Tcp => tcp_connect::connect(&session, native, socket, target),
    };
    match outcome {
        Outcome::Native => pass_on(),
        Outcome::Redirected(address) => {
            let family = socket::internet_family(socket).unwrap_or(libc::AF_UNSPEC);
            let there = RawAddress::new(address, family);
            let (address, length) = there.as_raw();
            // SAFETY: the address is ours and lives until the call is over
            unsafe { native(socket, address, length) }
        }
        Outcome::Connected => 0,
        Outcome::Failed(error) => error.fail(),
    }
}

/// The socket's association is about to be dissolved.
fn disconnecting(socket: c_int) {
    let Some(session) = Session::current() else {
        return;
    };
    if Kind::of(socket) != Kind::Tcp {
        return datagram::disconnecting(socket);
    }
    if !socket::is_closed(socket) || socket::is_spent(socket) {
        let _told_by_nobody = forgotten_failure(&session, socket);
    }
}
