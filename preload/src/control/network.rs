//! Network namespaces: the relay answers for the session's alone.

use super::open;
use crate::session::Session;
use crate::sys;
use kinject_protocol::control::ControlAddress;
use libc::c_int;

/// Whether a socket belongs to another network namespace than the session, so that the session cannot carry it.
pub(crate) fn is_in_other_network(session: &Session, socket: c_int) -> bool {
    session
        .relay()
        .is_some_and(|relay| is_other_network(&relay, socket))
}

/// The session of this process, for a call that libc answers over the network of the calling thread; none if that is
/// another network namespace than the session's.
pub(crate) fn session_of_this_network() -> Option<Session> {
    Session::current().filter(|session| !is_thread_in_other_network(session))
}

/// The same of a new socket of the calling thread. A thread that cannot make one is taken to be in the session's.
fn is_thread_in_other_network(session: &Session) -> bool {
    open().is_ok_and(|socket| is_in_other_network(session, socket.raw()))
}

pub(super) fn is_other_network(relay: &ControlAddress<'_>, socket: c_int) -> bool {
    relay.network.is_some_and(|network| {
        // without the option (before Linux 5.14) the call fails as it does without a relay
        sys::socket_option::<u64>(socket, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE)
            .is_ok_and(|sockets| sockets != network)
    })
}
