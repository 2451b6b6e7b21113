//! The sandbox as its users meet it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agent;
mod dns;
mod http;
mod lifetime;
mod samples;
mod support;
mod world;
