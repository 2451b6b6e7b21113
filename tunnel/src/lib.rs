//! The tunnel between a relay and its agent: one byte stream that carries everything a session does in the cluster.
//!
//! ```text
//!   relay                                                            agent
//!   Tunnel::connect, datagrams, dns, facts                           Incoming::{Connect, Datagrams, ...}
//!        │                                                                ▲
//!   http2     one HTTP/2 connection, the relay is the client              │
//!   lanes     port-forward's two protocols as one stream                  │
//!   link      hello: wire version, session; where resuming will stand     │
//!   proof|tls who is at the other end                                     │
//!   transport a byte stream: Unix socket, TCP, or what the relay got      │
//!        └──────────────────────── from the cluster ──────────────────────┘
//! ```
//!
//! **Who speaks first.** The relay connects and sends its hello; the agent answers with its own and proves that it
//! holds the session's key; the relay proves the same. Until then the agent takes no byte of a request ([`link`],
//! [`proof`], [`tls`]). The relay's first byte says in which of the two ways. From there on it is plain HTTP/2 with prior
//! knowledge:
//!
//! | what | how | standard |
//! |---|---|---|
//! | a TCP connection | `CONNECT host:port`; END_STREAM is FIN, RST_STREAM is RST | RFC 9113, 8.5 |
//! | a flow of datagrams | CONNECT-UDP, each datagram a capsule; RST_STREAM with CONNECT_ERROR is a refusal | RFC 9298, 9297, 8441 |
//! | a dial that failed | 502, 503 or 504 with `Proxy-Status` | RFC 9209 |
//! | a DNS message | `POST /dns-query`, `application/dns-message` | RFC 8484 |
//! | facts about the pod | `GET /.well-known/kinject`, JSON | – |
//!
//! Each stream has its own flow control, the connection as a whole has none that could be felt, so a program that
//! stops reading never slows another.

pub mod allocator;
pub mod datagrams;
pub mod dial_error;
pub mod http2;
pub mod keys;
pub mod lanes;
pub mod link;
pub mod proof;
pub mod splice;
pub mod tls;
pub mod transport;

mod coop;
mod crypto;
mod hello;
mod open_error;
mod payload;
mod send_scheduler;
pub use datagrams::{DatagramsEnd, carry};
pub use dial_error::DialError;
pub use hello::{Hello, SessionId, Version, WIRE_VERSION};
pub use http2::{
    AgentFacts, CloseReason, DatagramStream, Driver, InterfaceAddress, Network, RequestError, Scope, Tunnel,
    TunnelStream,
};
pub use keys::{AgentIdentity, RelayIdentity, Secret, SessionKeys};
pub use link::{OpenError, Security};
pub use splice::{SpliceEnd, SpliceOutcome, splice, splice_until};
pub use transport::{Endpoint, Listener, Stream};
