//! The session's control sockets: where the preloaded library asks.

mod conversation;
pub(crate) mod dispatch;
pub(crate) mod listener;
mod token;
