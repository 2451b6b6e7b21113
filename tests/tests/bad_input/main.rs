//! Bad input, hostile neighbours and unusual environments: a clear message or the right errno, and nothing hangs.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod agent;
mod api_server;
mod cluster;
mod folders;
mod foreign_words;
mod hostile;
mod keys;
mod kubeconfigs;
mod leftovers;
mod middle;
mod paths;
mod sockets;
mod stand_in;
mod versions;
mod workloads;
