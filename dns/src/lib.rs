//! What relay, agent and tunnel read of names: DNS messages that pass through, and resolv.conf.
//!
//! - [`message`] looks at DNS messages as bytes: question, code, addresses, TTL, what fits into a datagram.
//! - [`resolv_conf`] is the one parser of resolv.conf(5): of the pod's and of this machine's.
//!
//! Both are pure: sockets, files and clocks are their callers'. The preloaded library uses neither, since it may not
//! allocate; it looks at the header of an answer and at the OPT record of a question alone (`preload/src/resolver`).

pub mod message;
pub mod resolv_conf;

/// Where name servers listen.
pub const PORT: u16 = 53;
