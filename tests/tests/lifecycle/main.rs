//! Sessions in a real cluster, from start to end, with failures.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod agent_loss;
mod broken;
mod configuration;
mod ends;
mod gate;
mod images;
mod impostors;
mod namespace;
mod policies;
mod refusals;
mod transports;
