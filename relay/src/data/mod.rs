//! The sockets through which a program's bytes reach the relay.
//!
//! A program's TCP socket stays the program's own. The relay holds a duplicate of it for as long as the connect is
//! under way, and makes its other end on loopback: see [`ports`] for how a connect stays in progress until the far
//! end has answered, and [`crate::socket_watch::connecting`] for how the relay notices that a program gave up
//! meanwhile.

mod blackhole;
pub(crate) mod ports;
pub(crate) mod program;
mod unsuited;
