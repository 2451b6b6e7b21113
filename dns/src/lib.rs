//! DNS messages that are forwarded, and resolv.conf, for relay, agent and tunnel.
//!
//! - [`message`] reads DNS messages as bytes: question, response code, addresses, TTL, truncation for UDP.
//! - [`resolv_conf`] is the one parser of resolv.conf(5): of the pod's and of this machine's.
//!
//! Both are pure: their callers own sockets, files and clocks. The preloaded library uses neither, since it may not
//! allocate; it reads only the header of an answer and the OPT record of a question (`preload/src/resolver`).

pub mod message;
pub mod resolv_conf;

/// The port of name servers.
pub const PORT: u16 = 53;
