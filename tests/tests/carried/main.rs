//! Agents that a session carries into the cluster, without an image of their own.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod cleanup;
mod host_images;
mod installation;
mod loader;
mod refusals;
mod sharing;
