//! `kinject run` behaves as env(1) does for the program's execution, inheritance and exit status.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod children;
mod datagrams;
mod interrupts;
mod local;
mod name_servers;
mod outside;
mod own_addresses;
mod processes;
mod rules;
mod secrets;
mod shell;
mod signals;
mod status;
mod streams;
mod survivors;
mod terminal;
mod uninjectable;
mod variables;
