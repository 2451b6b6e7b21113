//! The failure of a connect to the cluster, which the relay remembers until the program has heard of it.
//!
//! The kernel has but `ECONNRESET` for a socket that the relay reset. Whatever call the program learns of the failure by, the relay
//! is asked what it really was, and forgets it.

use crate::control::{self, SMALL_REPLY};
use crate::errno::Errno;
use crate::failure;
use crate::session::Session;
use crate::socket;
use kinject_protocol::control::{ReplyRef, Request};
use libc::c_int;

/// Why the relay reset this socket, if it did.
pub(crate) fn stored_failure(session: &Session, socket: c_int) -> Option<Errno> {
    let cookie = socket::cookie(socket)?;
    let mut buffer = [0; SMALL_REPLY];
    match control::ask_about(session, &Request::Failure { cookie }, socket, &mut buffer) {
        Ok(ReplyRef::Failed(failed)) => Some(failure::connect_errno(failed)),
        Ok(_) | Err(_) => None,
    }
}

/// The failure of an earlier connect to the cluster, which the program has to be told before it connects to this
/// machine by the same socket.
pub(crate) fn unreported_failure(socket: c_int) -> Option<Errno> {
    let session = Session::current()?;
    if !socket::is_spent(socket) {
        return None;
    }
    reported_failure(&session, socket)
}

/// A failure that connect(2) tells now; the socket is as new afterwards.
pub(crate) fn reported_failure(session: &Session, socket: c_int) -> Option<Errno> {
    let failure = forgotten_failure(session, socket)?;
    socket::renew(socket);
    Some(failure)
}

/// Has the relay forget the socket; gives the failure that it remembered.
pub(crate) fn forgotten_failure(session: &Session, socket: c_int) -> Option<Errno> {
    let cookie = socket::cookie(socket)?;
    let mut buffer = [0; SMALL_REPLY];
    match control::ask_about(session, &Request::Disconnect { cookie }, socket, &mut buffer) {
        Ok(ReplyRef::Failed(failed)) => Some(failure::connect_errno(failed)),
        // without a relay there is nothing that it could remember
        Ok(_) | Err(_) => None,
    }
}
