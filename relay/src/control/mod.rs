//! The session's control socket: where the preloaded library asks.

pub(crate) mod connect;
pub(crate) mod conversation;
pub(crate) mod listener;
