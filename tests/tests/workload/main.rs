//! Sessions in the place of a workload, on the real cluster: what the relay finds of it, compared with what its own
//! container has.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod claims;
mod environment;
mod files;
mod home;
mod identity;
mod image;
mod launcher;
mod programs;
mod refusals;
mod relay;
mod secrets;
mod sources;
