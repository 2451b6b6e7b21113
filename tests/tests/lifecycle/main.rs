//! A session's life in a real cluster, and what becomes of it when something goes wrong.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod broken;
mod configuration;
mod ends;
mod gate;
mod images;
mod impostors;
mod namespace;
mod policies;
mod refusals;
mod told;
mod transports;
