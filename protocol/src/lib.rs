//! The words that kinject's processes speak with each other on one machine.
//!
//! Three conversations live here, one module each:
//!
//! - [`control`]: the preloaded library asks, the relay answers. Every call is a conversation of its own on a
//!   fresh `SOCK_SEQPACKET` Unix socket: the library connects, sends one [`control::Request`] (for a connect with
//!   the program's socket as `SCM_RIGHTS`), and reads one [`control::Reply`]. Nothing is kept between calls.
//! - [`environment`]: what the launcher puts into a program's environment so that the library finds its relay, and
//!   what the exec hooks put back when a program drops it.
//! - [`session`] (feature `session`): the launcher tells the relay what to set up and the relay reports how it goes,
//!   as JSON lines over a socket pair. The preloaded library never speaks it and does not pay for serde.
//!
//! [`folder`] (feature `session`) says whom a session's folder belongs to, [`membership`] (too) which processes are
//! of it, [`description`] (too) what a relay says of itself, and [`executable`] is what both the launcher and the
//! library have to know of programs' files.
//!
//! Encoding and decoding are pure: bytes in, values out, sizes checked before anything is copied.

pub mod control;
#[cfg(feature = "session")]
pub mod description;
pub mod environment;
pub mod executable;
pub mod failure;
#[cfg(feature = "session")]
pub mod folder;
#[cfg(feature = "session")]
pub mod membership;
#[cfg(feature = "session")]
pub mod rules;
#[cfg(feature = "session")]
pub mod session;

pub use failure::{ConnectFailure, NameFailure};
