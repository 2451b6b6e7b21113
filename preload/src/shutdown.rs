//! shutdown(2), for sockets that are not connected alone.
//!
//! The kernel says `ENOTCONN` of such a socket, and remembers all the same that nothing is to be sent or received any more
//! (`sk_shutdown`). A socket that is connected later keeps that, and says nothing of it to its peer. One that the relay connects
//! by a simultaneous open would: it sends its FIN with the handshake. So the relay is told, and connects it another way.
//! Everything else is the kernel's answer, untouched.

use crate::control::{self, SMALL_REPLY};
use crate::errno::{self, Errno};
use crate::real;
use crate::session::Session;
use crate::socket::{self, Kind};
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
        errno::kept(|| tell(socket));
    }
    result
}

#[cold]
fn tell(socket: c_int) {
    let Some(session) = Session::current() else {
        return;
    };
    if Kind::of(socket) != Kind::Tcp || !socket::is_closed(socket) {
        return;
    }
    if let Some(cookie) = socket::cookie(socket) {
        let mut buffer = [0; SMALL_REPLY];
        // without a relay nobody will connect it
        let _noted = control::ask_about(&session, &Request::ShutDown { cookie }, socket, &mut buffer);
    }
}
