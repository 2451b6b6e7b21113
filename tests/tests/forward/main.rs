//! `kinject forward`: programs of this machine, outside of every session, reach the cluster at local ports.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod bad_input;
mod ends;
mod process;
mod restarts;
mod rights;
mod socks;
mod targets;
mod users;
