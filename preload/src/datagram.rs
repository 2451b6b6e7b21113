//! Datagrams of UDP sockets to other machines.
//!
//! A datagram to another machine goes to an address on loopback that stands for its target: the relay says which ([`flow`]), the
//! first time, and it is remembered ([`cache`]). A message whose control data has to be rewritten for that is [`redirect`]ed.

mod cache;
mod control_data;
mod flow;
mod redirect;

pub(crate) use flow::{Route, connect, route, source};
pub(crate) use redirect::Redirection;

use crate::errno::Errno;
use libc::c_int;

/// The answer to everything that a session does not carry.
pub(crate) const UNCARRIED: Errno = Errno(libc::ENETUNREACH);

/// The socket's association is about to be dissolved (connect(2), `AF_UNSPEC`).
pub(crate) fn disconnecting(socket: c_int) {
    flow::forget(socket);
}
