//! The tunnel between a relay and its agent: one byte stream that carries all traffic of a session with the cluster.
//!
//! ```text
//!   relay                                                            agent
//!   Tunnel::connect, datagrams, dns, file, ...                       Incoming::{Connect, Datagrams, ...}
//!        │                                                                ▲
//!   http2     one HTTP/2 connection, the relay is the client              │
//!   lanes     port-forward's two protocols as one stream                  │
//!   link      hello: wire version and session                             │
//!   proof|tls authentication of both ends                                 │
//!   transport a byte stream: Unix socket, TCP, or through an API server   │
//!        └────────────────────────────────────────────────────────────────┘
//! ```
//!
//! **Order of messages.** The relay connects and sends its hello; the agent answers with its own and proves that it
//! holds the session's key; the relay proves the same. Until then the agent accepts no byte of a request ([`link`],
//! [`proof`], [`tls`]). The relay's first byte selects proof or TLS. After that, the stream is plain HTTP/2 with prior
//! knowledge:
//!
//! | what | how | standard |
//! |---|---|---|
//! | a TCP connection | `CONNECT host:port`; END_STREAM is FIN, RST_STREAM is RST | RFC 9113, 8.5 |
//! | a flow of datagrams | CONNECT-UDP, each datagram a capsule; RST_STREAM with CONNECT_ERROR is a refusal | RFC 9298, 9297, 8441 |
//! | a dial that failed | 502, 503 or 504 with `Proxy-Status` | RFC 9209 |
//! | a DNS message | `POST /dns-query`, `application/dns-message` | RFC 8484 |
//! | facts about the pod | `GET /.well-known/kinject`, JSON | – |
//! | the agent's environment | `GET /.well-known/kinject/environment`, as environ(7) has it | – |
//! | a file of the container | `POST /.well-known/kinject/file` ([`files`]) | – |
//! | all below some paths, and each change | `POST /.well-known/kinject/watch` ([`files`]) | – |
//!
//! Each stream has its own flow control. The connection's window is so large that it limits no stream, so a program
//! that stops reading never slows another.

pub mod allocator;
pub mod datagrams;
pub mod dial_error;
pub mod files;
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
pub use datagrams::{DatagramReceiver, DatagramSender, DatagramsEnd, carry};
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
