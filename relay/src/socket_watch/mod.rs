//! What becomes of programs' sockets: five ways to learn that one was closed, since the kernel tells nobody unasked.
//!
//! - [`connecting`]: whose connect is under way, while the relay holds a duplicate. Open files in proc(5), once a second.
//! - [`connections`]: which connections are open when the session ends.
//! - [`closed`]: whether a FIN was a close(2) or a shutdown(2). sock_diag(7), one question.
//! - [`destroy_events`]: UDP sockets, as they are closed. News of sock_diag(7).
//! - [`udp_table`]: which UDP sockets there are, where the kernel has no news to tell.
//!
//! [`sock_diag`] speaks with the kernel, [`proc_fd`] reads open files.

pub(crate) mod closed;
pub(crate) mod connecting;
pub(crate) mod connections;
pub(crate) mod destroy_events;
pub(crate) mod proc_fd;
pub(crate) mod sock_diag;
pub(crate) mod udp_table;
