//! shutdown(2), for sockets that are not connected alone.
//!
//! The kernel returns `ENOTCONN` for such a socket, and marks its directions as shut down all the same
//! (`sk_shutdown`). A socket that is connected later keeps the mark, which its peer does not see. A simultaneous open
//! is an exception: there the kernel sends a FIN with the handshake. So the hook reports the call to the relay, which
//! connects the socket another way. All other results are the kernel's, unchanged.

use crate::control::{self, SMALL_REPLY};
use crate::errno::{self, Errno};
use crate::real;
use crate::session::Session;
use crate::socket::{self, KernelSocket, Kind, SocketFacts};
use kinject_protocol::control::Request;
use libc::c_int;

hook! {
    unsafe fn shutdown(socket: c_int, how: c_int) -> c_int => hooked {
        shutdown_in_session(socket, how)
    }
}

pub(crate) extern "C" fn shutdown_in_session(socket: c_int, how: c_int) -> c_int {
    let Some(native) = real::shutdown.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    // SAFETY: the call takes no pointer
    let result = unsafe { native(socket, how) };
    if result != 0 && Errno::current() == Errno(libc::ENOTCONN) {
        errno::preserve(|| report(socket));
    }
    result
}

#[cold]
fn report(socket: c_int) {
    let Some(session) = Session::current() else {
        return;
    };
    if !may_be_connected_later(&KernelSocket::new(&session, socket)) {
        return;
    }
    if let Some(cookie) = socket::cookie(socket) {
        let mut buffer = [0; SMALL_REPLY];
        // without a relay the socket is never connected to the cluster
        let _noted = control::ask_about(&session, &Request::ShutDown { cookie }, socket, &mut buffer);
    }
}

/// Decides whether the relay has to know that a socket was shut down: it connects TCP sockets that are closed.
fn may_be_connected_later(socket: &impl SocketFacts) -> bool {
    socket.kind() == Kind::Tcp && socket.is_closed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::FakeSocket;

    #[test]
    fn closed_tcp_socket_is_reported_and_no_other() {
        for (kind, is_closed, expected) in [
            (Kind::Tcp, true, true),
            (Kind::Tcp, false, false),
            (Kind::Udp, true, false),
            (Kind::Uncarried, true, false),
            (Kind::Foreign, true, false),
        ] {
            let mut socket = FakeSocket::new(kind);
            socket.is_closed = is_closed;
            assert_eq!(may_be_connected_later(&socket), expected, "{kind:?} {is_closed}");
        }
    }
}
