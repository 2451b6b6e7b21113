//! Programs in C, run bare and with the library, against a scripted relay.

#![allow(clippy::unwrap_used, reason = "a test ends at the first error")]

mod dns;
mod exec_functions;
mod program;
mod relay;
mod remote_files;
mod script;

mod addresses;
mod asynchronous;
mod children;
mod connect;
mod container_calls;
mod container_files;
mod exports;
mod files;
mod hygiene;
mod libraries;
mod messages;
mod names;
mod networks;
mod other_users;
mod peers;
mod rounds;
mod sanitizers;
mod uninjectable;
