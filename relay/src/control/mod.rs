//! The session's control sockets, at which the preloaded library sends its calls.

mod conversation;
pub(crate) mod dispatch;
pub(crate) mod listener;
mod refusals;
mod token;
