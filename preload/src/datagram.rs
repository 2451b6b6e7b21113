//! Datagrams of UDP sockets to other machines.
//!
//! The hooks send a datagram for another machine to an address on loopback that stands for its target. They ask the
//! relay for that address ([`flow`]) and remember it ([`cache`]). [`redirect`] sends a message whose control data has
//! to be rewritten for that.

mod cache;
mod control_data;
mod flow;
mod redirect;

pub(crate) use flow::{Route, connect, forget, route, source};
pub(crate) use redirect::Redirection;

use crate::errno::Errno;

/// The error of everything that a session does not carry.
pub(crate) const UNCARRIED: Errno = Errno(libc::ENETUNREACH);
