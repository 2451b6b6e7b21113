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
    differs(relay.network, || {
        sys::socket_option(socket, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE).ok()
    })
}

/// Whether a socket's network namespace is another one than the session's. A kernel without the option (before Linux
/// 5.14) has no cookies, and there the call fails as it does without a relay.
fn differs(session: Option<u64>, socket: impl FnOnce() -> Option<u64>) -> bool {
    session.is_some_and(|session| socket().is_some_and(|socket| socket != session))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_differs_if_both_cookies_are_known_and_not_equal() {
        assert!(differs(Some(1), || Some(2)));
        assert!(!differs(Some(1), || Some(1)));
        assert!(!differs(Some(1), || None));
        assert!(!differs(None, || panic!("the socket was asked")));
    }
}
