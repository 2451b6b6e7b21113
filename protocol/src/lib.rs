//! The protocols between kinject's processes on one machine.
//!
//! There are three, one module each:
//!
//! - [`control`]: the preloaded library asks, the relay answers. Every call uses a connection of its own on a
//!   new `SOCK_SEQPACKET` Unix socket: the library connects, sends one [`control::Request`] (for a connect with
//!   the program's socket as `SCM_RIGHTS`), and reads one [`control::Reply`]. Nothing is kept between calls.
//! - [`environment`]: what the launcher puts into a program's environment so that the library finds its relay, and
//!   what the exec hooks put back when a program drops it.
//! - [`session`] (feature `session`): the launcher tells the relay what to set up and the relay reports how it goes,
//!   as JSON lines over a socket pair. The preloaded library does not use it and so does not contain serde.
//!
//! [`folder`] (feature `session`) checks whom a session's folder belongs to, [`membership`] (too) which processes are
//! in a session, [`description`] (too) how a relay describes itself, [`workload`] (too) names what a session's programs
//! stand in for, [`forward`] (too) what a relay listens at, and [`executable`] classifies programs' files for
//! the launcher and the library.
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
pub mod forward;
#[cfg(feature = "session")]
pub mod membership;
pub mod paths;
#[cfg(feature = "session")]
pub mod rules;
#[cfg(feature = "session")]
pub mod session;
#[cfg(feature = "session")]
pub mod workload;

pub use failure::{ConnectFailure, NameFailure};
