//! Detects that programs have closed their sockets, in five cases:
//!
//! - [`connecting`]: sockets whose connect is in progress, of which the relay holds a duplicate. Scans proc(5) once a
//!   second.
//! - [`connections`]: which connections are open when the session ends.
//! - [`closed`]: whether a FIN was a close(2) or a shutdown(2), by one query of sock_diag(7).
//! - [`destroy_events`]: UDP sockets when they are closed, by events of sock_diag(7).
//! - [`udp_table`]: which UDP sockets exist, if the kernel sends no events.
//!
//! [`sock_diag`] queries the kernel, [`proc_fd`] reads the open files of processes.

pub(crate) mod closed;
pub(crate) mod connecting;
pub(crate) mod connections;
pub(crate) mod destroy_events;
pub(crate) mod proc_fd;
pub(crate) mod sock_diag;
pub(crate) mod udp_table;
