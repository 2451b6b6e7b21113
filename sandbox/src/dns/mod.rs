//! The DNS of the sandbox: it answers as CoreDNS does for the services of a cluster.
//!
//! `records` holds what exists, [`answer`] turns a question into an answer without any IO, `server` moves
//! messages over UDP and TCP.

mod answer;
mod records;
mod server;

pub use answer::{Transport, answer};
pub use records::Records;
pub use server::{Server, TCP_IDLE};
