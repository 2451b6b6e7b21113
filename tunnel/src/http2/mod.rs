//! HTTP/2 on a link: the relay is the client, the agent the server.
//!
//! **Buffer sizes.** Nearly all the time is spent in the kernel's TCP, and most of that in waking the next process, so
//! throughput depends on how many bytes are moved at a time. Measured with `examples/throughput.rs` on two otherwise
//! idle cores, one stream down and up, where the direct connection did 2,300 MB/s:
//!
//! | read and frame | down | up |
//! |---|---|---|
//! | 64 KiB, 512 KiB queued | 970 MB/s | 980 MB/s |
//! | 64 KiB, 128 KiB queued | 1,160 | 1,030 |
//! | 128 KiB | 1,160 | 1,120 |
//! | 256 KiB | 1,160 | 1,140 |
//! | 512 KiB | 1,330 to 1,390 | 1,200 to 1,310 |
//!
//! Two plain relays in a row, without HTTP/2, do 790 MB/s with 64 KiB at a time and 1,080 with 512 KiB. Therefore:
//!
//! - Frames of up to 512 KiB, for connections that fill them (`splice` starts with 64 KiB).
//! - A stream's window bounds the bytes of a connection in flight: 6 MiB, enough for 400 MB/s at 15 ms, more while
//!   readers keep up, and less when many of them do not (`windows`).
//! - The connection's window is larger than what streams use, so that only streams are limited: a stalled reader uses
//!   up its own window and nothing of the others'. It bounds the bytes that the peer can make this end buffer.
//! - h2's limits against a hostile peer are raised where they would hurt an honest one: both ends are authenticated,
//!   and a program may well reset thousands of connections in a second.

mod body;
mod busy_poll;
mod client;
mod close_coalescer;
mod common;
mod datagrams;
mod exchange;
mod facts;
mod file_client;
mod file_server;
mod heartbeat;
mod overflow;
mod receivers;
mod server;
mod stream;
mod traffic;
mod windows;

pub use body::{BodyReader, BodySender, Cancelled};
pub use client::{Driver, Tunnel};
pub(crate) use close_coalescer::CloseCoalescer;
pub(crate) use datagrams::Receiving;
pub use datagrams::{DatagramRequest, DatagramStream};
pub use exchange::RequestError;
pub use facts::{AgentFacts, InterfaceAddress, Network, Scope};
pub use file_client::Watch;
pub use file_server::{EnvironmentRequest, FileRequest, WatchRequest, WatchSender};
pub use server::{ConnectRequest, DnsRequest, FactsRequest, Incoming, Server};
pub use stream::TunnelStream;
pub(crate) use windows::UnreadShare;

use std::fmt;
use std::time::Duration;

/// The largest DATA frame either end accepts.
pub(crate) const FRAME_BYTES: u32 = 512 * 1024;
/// Bytes of all streams together that may be in flight.
const CONNECTION_WINDOW: u32 = 512 * 1024 * 1024;
/// Bytes of one stream that h2 may queue before they are written: one frame being written and one behind it.
const SEND_BUFFER: usize = 1024 * 1024;
/// Concurrent connections.
const STREAMS: u32 = 65_535;
/// Recently reset streams whose late frames are still expected.
const RESET_STREAMS: usize = 4096;
/// Maximum size of a header list; our own requests are far smaller.
const HEADER_LIST_BYTES: u32 = 16 * 1024;

const DNS_PATH: &str = "/dns-query";
const FACTS_PATH: &str = "/.well-known/kinject";
const ENVIRONMENT_PATH: &str = "/.well-known/kinject/environment";
const FILE_PATH: &str = "/.well-known/kinject/file";
const WATCH_PATH: &str = "/.well-known/kinject/watch";
const BINARY_MEDIA_TYPE: &str = "application/octet-stream";
const DNS_MEDIA_TYPE: &str = "application/dns-message";
/// Longest DNS message.
const DNS_BYTES: usize = 65_535;
/// Maximum size of the facts that a relay reads.
const FACTS_BYTES: usize = 256 * 1024;
/// Maximum size of the agent's environment. The kernel gives a process at most 6 MiB of arguments and environment
/// (execve(2)).
const ENVIRONMENT_BYTES: usize = 8 * 1024 * 1024;

/// Time between PINGs.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long nothing may be received from the other end: three missing answers to PINGs.
pub const SILENCE: Duration = HEARTBEAT.saturating_mul(3);

/// Why a tunnel ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// This end dropped its last handle.
    Finished,
    /// The other end closed it.
    PeerClosed,
    /// Nothing was received from the other end for three heartbeats.
    Silent,
    /// The transport failed or the other end broke the protocol.
    Failed(String),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::Finished => f.write_str("the tunnel was closed"),
            CloseReason::PeerClosed => f.write_str("the other end closed the tunnel"),
            CloseReason::Silent => {
                write!(
                    f,
                    "nothing was heard from the other end for {} seconds",
                    SILENCE.as_secs()
                )
            }
            CloseReason::Failed(why) => write!(f, "the tunnel broke: {why}"),
        }
    }
}

impl From<h2::Error> for CloseReason {
    fn from(error: h2::Error) -> Self {
        // A GOAWAY without an error, or the end of the connection, means that the other end closed the tunnel.
        let closed = error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
        let ended = error.get_io().is_some_and(|io| {
            use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
            matches!(io.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
        });
        match closed || ended {
            true => CloseReason::PeerClosed,
            false => CloseReason::Failed(error.to_string()),
        }
    }
}

/// Both builders have the same settings, but no common trait.
macro_rules! configure {
    ($builder:expr) => {
        $builder
            .initial_window_size($crate::http2::windows::DEFAULT_WINDOW)
            .initial_connection_window_size($crate::http2::CONNECTION_WINDOW)
            .max_frame_size($crate::http2::FRAME_BYTES)
            .max_header_list_size($crate::http2::HEADER_LIST_BYTES)
            .max_concurrent_streams($crate::http2::STREAMS)
            .max_concurrent_reset_streams($crate::http2::RESET_STREAMS)
            .max_pending_accept_reset_streams($crate::http2::STREAMS as usize)
            .max_local_error_reset_streams(None)
            .max_send_buffer_size($crate::http2::SEND_BUFFER)
    };
}
use configure;
