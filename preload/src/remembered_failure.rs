//! The failure of a connect to the cluster, which the relay remembers until it is reported to the program.
//!
//! For a socket that the relay reset the kernel has only `ECONNRESET`. The call by which the program learns of the
//! failure asks the relay for the errno, and the relay forgets it.

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
    failure_of_reply(session, &Request::Failure { cookie }, socket)
}

/// The failure of an earlier connect to the cluster, which is reported to the program before the same socket is
/// connected to this machine.
pub(crate) fn unreported_failure(session: &Session, socket: c_int) -> Option<Errno> {
    if !socket::is_closed_by_failure(socket) {
        return None;
    }
    reported_failure(session, socket)
}

/// A failure that connect(2) returns; the socket is as new afterwards.
pub(crate) fn reported_failure(session: &Session, socket: c_int) -> Option<Errno> {
    let failure = take_failure(session, socket)?;
    socket::disconnect(socket);
    Some(failure)
}

/// Has the relay forget the socket; gives the failure that it remembered.
pub(crate) fn take_failure(session: &Session, socket: c_int) -> Option<Errno> {
    let cookie = socket::cookie(socket)?;
    failure_of_reply(session, &Request::Disconnect { cookie }, socket)
}

fn failure_of_reply(session: &Session, request: &Request<'_>, socket: c_int) -> Option<Errno> {
    let mut buffer = [0; SMALL_REPLY];
    match control::ask_about(session, request, socket, &mut buffer) {
        Ok(ReplyRef::Failed(failed)) => Some(failure::connect_errno(failed)),
        // the relay remembers no failure, or there is no relay
        Ok(_) | Err(_) => None,
    }
}
