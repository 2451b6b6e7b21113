//! Agents that a session carries into the cluster, without an image of their own.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod cleanup;
mod damage;
mod facts;
mod host_images;
mod loader;
mod namespace;
mod refusals;
mod registry;
mod sharing;
mod traffic;
