//! The loopback connections between programs and the relay.
//!
//! The program keeps its TCP socket. The relay holds a duplicate of it while the connect is in progress, and connects
//! it to a socket of its own on loopback: see [`ports`] for how a connect stays in progress until the target has
//! answered, and [`crate::socket_watch::connecting`] for how the relay detects that a program has closed its socket
//! meanwhile.

mod blackhole;
pub(crate) mod ports;
pub(crate) mod program;
mod unsuited;
