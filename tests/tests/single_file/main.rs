//! The one executable that holds launcher, relay and library: it needs nothing beside it, and unpacks the library where
//! nobody else can alter it.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod cache;
mod contents;
mod home;
