//! The session's control sockets: where the preloaded library asks.

pub(crate) mod connect;
pub(crate) mod conversation;
pub(crate) mod listener;
mod token;
